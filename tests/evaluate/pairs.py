"""A pair set in memory and an encoder of colours, small enough to be right by eye."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from compressor.data.pairs import Row
from compressor.errors import BadImageError

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 200, 40),
    "blue": (40, 50, 220),
    "yellow": (230, 220, 40),
    "white": (245, 245, 245),
    "violet": (150, 40, 200),
}


@dataclass
class ColourPairs:
    """One plain picture per colour, `captions` captions each; rows in `broken` cannot be decoded."""

    names: Sequence[str] = tuple(COLOURS)
    captions: int = 2
    broken: frozenset[int] = frozenset()
    split: str = "test"
    fingerprint: str = "colours"
    decoded: list[int] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        return [
            Row(
                f"{name}.png",
                tuple(f"{name} picture {k}" for k in range(self.captions)),
                tuple(f"{name}#{k}" for k in range(self.captions)),
            )
            for name in self.names
        ]

    def image(self, index: int) -> Image.Image:
        self.decoded.append(index)
        if index in self.broken:
            raise BadImageError("truncated")
        return Image.new("RGB", (120, 60), COLOURS[self.names[index]])


@dataclass
class ColourEncoder:
    """Embeds a picture by its mean colour and a text by the colour it names (`confused`: by another)."""

    confused: dict[str, str] = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)

    def encode_images(self, images: list[Any], batch_size: int) -> np.ndarray:
        self.batches.append(len(images))
        return np.asarray(
            [np.asarray(image, np.float32).mean(axis=(0, 1)) - 128 for image in images], np.float32
        )

    def encode_texts(self, texts: list[str], batch_size: int) -> np.ndarray:
        self.batches.append(len(texts))
        names = [text.split()[0] for text in texts]
        return np.asarray([COLOURS[self.confused.get(name, name)] for name in names], np.float32) - 128
