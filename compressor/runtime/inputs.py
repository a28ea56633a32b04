"""What a bundle is given, made ready."""

from __future__ import annotations

from collections.abc import Sequence
from types import UnionType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compressor.errors import BadImageError
from compressor.preprocess.preprocessor import Preprocessor


def pixels_of(
    preprocessor: Preprocessor, images: Sequence[bytes | Image.Image], start: int = 0
) -> NDArray[np.float32]:
    """Encoded files (bytes) or PIL images -> (N, 3, size, size) float32.

    Raises `BadImageError` naming the index, counted from `start`, of the first that cannot be decoded.
    """
    try:
        return preprocessor.images(images)
    except BadImageError as first:
        # Only now is each image tried alone: a good batch pays nothing for the index in the message.
        for offset, image in enumerate(images):
            try:
                preprocessor.images([image])
            except BadImageError as error:
                raise BadImageError(f"image {start + offset}: {error.reason}") from error
        raise first


def check_images(images: Sequence[bytes | Image.Image], function: str) -> None:
    """Raise `TypeError` for anything but a list of encoded files or pictures; paths are not opened here."""
    if isinstance(images, bytes | bytearray | memoryview | Image.Image):
        raise TypeError(f"{function} takes a list of images; put a single one into a list")
    strange = _strange(images, bytes | bytearray | memoryview | Image.Image)
    if strange is not None:
        raise TypeError(f"{function} takes a list of bytes or PIL images, not {strange}; read files first")


def check_texts(texts: Sequence[str], function: str, what: str = "strings") -> None:
    """Raise `TypeError` for anything but a list of strings."""
    if isinstance(texts, str):
        raise TypeError(f"{function} takes a list of {what}; put a single one into a list")
    strange = _strange(texts, str)
    if strange is not None:
        raise TypeError(f"{function} takes a list of {what}, not {strange}")


def _strange(items: object, wanted: type | UnionType) -> str | None:
    """What is given where a list of something else belongs; None where all is well."""
    if isinstance(items, str) or not (hasattr(items, "__len__") and hasattr(items, "__iter__")):
        return type(items).__name__
    odd = next((type(item).__name__ for item in items if not isinstance(item, wanted)), None)
    return None if odd is None else f"a list with {odd} in it"


def at_least_one(batch_size: int) -> int:
    """The batch size; raises `ValueError` for one below 1."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    return batch_size
