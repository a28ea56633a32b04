"""Image-text pairs as the rest of the project sees them: one row an image, any number of captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from PIL import Image


@dataclass(frozen=True, slots=True)
class Row:
    """One image and its captions.

    `id` is unique within the data set. `captions` may be empty: such a row is used by image-side losses only.
    `caption_ids` are as many as the captions and unique within the data set.
    """

    id: str
    captions: tuple[str, ...] = ()
    caption_ids: tuple[str, ...] = ()


class PairSet(Protocol):
    """The rows of one split and their images, in a stable order.

    `fingerprint` identifies the annotations (ids, captions, order) and where the images come from, files with
    their sizes; it does not read the pixels. `image(i)` decodes row i to RGB and raises `BadImageError` where
    it cannot.
    """

    split: str
    fingerprint: str

    @property
    def rows(self) -> Sequence[Row]: ...

    def image(self, index: int) -> Image.Image: ...


@runtime_checkable
class RawPairSet(PairSet, Protocol):
    """Optional: pairs that also hand out images as they are stored, to be decoded as serving would.

    `image_bytes(i)` raises `BadImageError` where the file cannot be read; it does not decode.
    """

    def image_bytes(self, index: int) -> bytes: ...
