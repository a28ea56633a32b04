"""Small data sets on disk."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from PIL import Image


def image_bytes(shade: int = 0, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (12, 10), (shade, 0, 0)).save(buffer, kind)
    return buffer.getvalue()


def write_images(folder: Path, names: list[str]) -> None:
    """Image number k has the colour (k, 0, 0)."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_bytes(number))


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def shade(image: Image.Image) -> int:
    """The number that `write_images` gave this image."""
    assert image.mode == "RGB"
    pixel = image.getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return int(pixel[0])
