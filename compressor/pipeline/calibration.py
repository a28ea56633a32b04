"""The validation pairs on which the student's cosines are calibrated against the teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from compressor.data.pairs import PairSet, Row

IMAGES = 500
"""Enough for the shares of matches to be known to a point or two; the teacher has to embed each of them."""


@dataclass
class _Some:
    """Some rows of a pair set, as a pair set."""

    pairs: PairSet
    kept: Sequence[int]
    split: str
    fingerprint: str

    @property
    def rows(self) -> Sequence[Row]:
        return [self.pairs.rows[index] for index in self.kept]

    def image(self, index: int) -> Image.Image:
        return self.pairs.image(self.kept[index])


def some_pairs(pairs: PairSet, images: int = IMAGES) -> PairSet:
    """At most `images` rows that have captions, spread evenly over the set."""
    captioned = [index for index, row in enumerate(pairs.rows) if row.captions]
    count = min(images, len(captioned))
    kept = [captioned[step * len(captioned) // count] for step in range(count)]
    return _Some(pairs, kept, pairs.split, f"{pairs.fingerprint}, {count} rows")
