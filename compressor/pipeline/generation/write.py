"""A model at its writing: one caption for every picture of a split, or one answer to every question."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from compressor.data.bad import BadSamples
from compressor.data.pairs import PairSet
from compressor.errors import BadImageError, DataError
from compressor.recipe.outcome import GenerationSection
from compressor.students.generator import GenerativeModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Written:
    """`texts` by the id of the picture, or of the question; `bad` pictures could not be decoded."""

    texts: dict[str, str]
    bad: int


@dataclass(frozen=True)
class _Asked:
    """One picture, once for every text that is wanted of it."""

    name: str
    index: int
    question: str | None


def write_texts(
    model: GenerativeModel,
    pairs: PairSet,
    writing: GenerationSection,
    batch_size: int,
    max_bad_fraction: float,
    progress: Callable[[int, int], None],
    device: torch.device,
) -> Written:
    """Beam search over a split, in full precision. Pictures without captions to compare with are left out.

    Raises `DataError` for too many pictures that cannot be decoded, or none that can.
    """
    generator = model.generator
    assert isinstance(generator, nn.Module)
    generator.eval().to(device)
    bad = BadSamples(len(pairs.rows), max_bad_fraction, log)
    texts: dict[str, str] = {}
    total = sum(1 for _ in _asked(pairs, asks=generator.head == "vqa"))
    for batch, pixels in _batches(model, pairs, batch_size, bad):
        questions = [asked.question for asked in batch if asked.question is not None]
        ids = generator.generate(
            torch.from_numpy(pixels).to(device),
            torch.from_numpy(model.question_ids(questions)).to(device) if questions else None,
            beams=writing.beams,
            max_length=writing.max_length,
            min_length=writing.min_length,
        )
        texts |= dict(zip((asked.name for asked in batch), model.spell(ids), strict=True))
        progress(len(texts), total)
    if not texts:
        raise DataError(f"none of the {len(pairs.rows)} images of the {pairs.split} split can be decoded")
    return Written(texts, bad.count)


def _asked(pairs: PairSet, *, asks: bool) -> Iterator[_Asked]:
    for index, row in enumerate(pairs.rows):
        if asks:
            for name, question in zip(row.caption_ids, row.captions, strict=True):
                yield _Asked(name, index, question)
        elif row.captions:
            yield _Asked(row.id, index, None)


def _batches(
    model: GenerativeModel, pairs: PairSet, size: int, bad: BadSamples
) -> Iterator[tuple[list[_Asked], np.ndarray]]:
    """What is asked together, and its pictures (B, 3, H, W); a picture is decoded once."""
    batch: list[_Asked] = []
    rows: list[np.ndarray] = []
    decoded: tuple[int, np.ndarray | None] = (-1, None)
    for asked in _asked(pairs, asks=model.generator.head == "vqa"):
        if decoded[0] != asked.index:
            decoded = (asked.index, _pixels(model, pairs, asked.index, bad))
        if decoded[1] is not None:
            batch.append(asked)
            rows.append(decoded[1])
        if len(batch) == size:
            yield batch, np.stack(rows)
            batch, rows = [], []
    if batch:
        yield batch, np.stack(rows)


def _pixels(model: GenerativeModel, pairs: PairSet, index: int, bad: BadSamples) -> np.ndarray | None:
    try:
        pixels: np.ndarray = model.preprocessor.images([pairs.image(index)])[0]
    except BadImageError as error:
        bad.add(pairs.rows[index].id, error.reason)
        return None
    return pixels
