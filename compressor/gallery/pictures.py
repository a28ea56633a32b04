"""From an encoded file to what the gallery keeps of it: thumbnail, size, hash, vector."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compressor.errors import BadImageError
from compressor.gallery.items import NewItem
from compressor.preprocess.image import decode_image
from compressor.runtime.bundle import Bundle

THUMBNAIL_SIDE = 256
_QUALITY = 85


@dataclass(frozen=True, slots=True)
class Pictured:
    """What is kept of a picture. `width` and `height` are those of the upright original."""

    thumbnail: bytes
    width: int
    height: int
    sha256: str


def decode(data: bytes) -> Image.Image:
    """As `compressor.preprocess.image.decode_image`, without the note of a rotation that is applied."""
    picture = decode_image(data)
    picture.info.clear()
    return picture


def pictured(item: NewItem) -> Pictured:
    """Decode an item, unless that was done, and make its thumbnail. Raises `BadImageError`."""
    picture = decode(item.image) if item.picture is None else decode_image(item.picture)
    return Pictured(thumbnail(picture), picture.width, picture.height, hashlib.sha256(item.image).hexdigest())


def thumbnail(picture: Image.Image) -> bytes:
    """A JPEG file whose longest side has at most 256 pixels; it carries nothing of the original's EXIF."""
    small = picture.copy()
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "JPEG", quality=_QUALITY, exif=b"")
    return out.getvalue()


def embed(bundle: Bundle, items: Sequence[NewItem], batch_size: int = 32) -> NDArray[np.float32]:
    """Vectors of new items -> (N, embed_dim) float32; a row of NaN where the picture cannot be decoded.

    `Gallery.add` turns such a row into that item's error, so that a bad picture never costs its neighbours.
    """
    rows = np.full((len(items), bundle.embed_dim), np.nan, np.float32)
    for start in range(0, len(items), batch_size):
        good: dict[int, Image.Image] = {}
        for index, item in enumerate(items[start : start + batch_size], start):
            try:
                good[index] = decode(item.image) if item.picture is None else item.picture
            except BadImageError:
                continue
        if good:
            rows[list(good)] = bundle.encode_images(list(good.values()), batch_size)
    return rows
