"""Small pictures, unit rows and spaces for the tests of the gallery."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compressor.gallery import Gallery, Identity, NewItem

WIDTH = 8
SPACE = Identity("a" * 64, WIDTH, "toy", "fp32")
OTHER = Identity("b" * 64, WIDTH, "toy", "int8")


def picture(seed: int = 0, size: tuple[int, int] = (20, 12), format: str = "PNG", **options: Any) -> bytes:
    """An encoded picture of noise; `size` is (width, height)."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, format, **options)
    return out.getvalue()


def unit_rows(count: int, width: int = WIDTH, seed: int = 0) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(count, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


PICTURE = picture()


def new_items(count: int, prefix: str = "i", **metadata: Any) -> list[NewItem]:
    """`count` items with rising ids and their number as metadata key `n`."""
    return [NewItem(f"{prefix}{n:04d}", PICTURE, {"n": n, **metadata}) for n in range(count)]


def filled(at: Path, count: int, **options: Any) -> tuple[Gallery, NDArray[np.float32]]:
    """A new gallery of so many items, and their rows."""
    gallery, rows = Gallery.open(at, SPACE, create=True, **options), unit_rows(count)
    gallery.add(new_items(count), rows)
    return gallery, rows
