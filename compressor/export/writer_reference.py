"""What the PyTorch model gives and writes: what every artifact of a model that writes is held against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from compressor.export.writer_samples import WriterSamples
from compressor.recipe.outcome import ParityBounds
from compressor.runtime.beam_search import Ids, SearchSettings
from compressor.runtime.writer_graphs import as_question
from compressor.runtime.writer_schema import WriterVocabulary, Writing
from compressor.students.blip import BlipGenerator
from compressor.students.generator import force_targets

TEXTS = 32
"""Texts that are compared: enough to see a fault, few enough for a large teacher on a small machine."""
_BATCH = 8

Array = NDArray[np.float32]


@dataclass
class WriterReference:
    """PyTorch's side, computed once for all precisions. The generator is on the CPU, in evaluation mode."""

    generator: BlipGenerator
    vocabulary: WriterVocabulary
    samples: WriterSamples
    writing: Writing
    bounds: ParityBounds
    _texts: dict[int, list[list[int]]] = field(default_factory=dict)

    def settings(self, beams: int) -> SearchSettings:
        """How texts are written for the comparison."""
        wanted, known = self.writing, self.vocabulary
        return SearchSettings(known.end_id, known.pad_id, beams, wanted.max_length, wanted.min_length)

    def texts(self, beams: int) -> list[list[int]]:
        """What PyTorch writes of the first samples, without padding."""
        if beams not in self._texts:
            self._texts[beams] = [
                row
                for batch in batches_of(self.samples.rows(TEXTS), _BATCH)
                for row in texts_of(
                    self.generator.generate(
                        torch.from_numpy(batch.pixel_values),
                        None if batch.question_ids is None else torch.from_numpy(batch.question_ids),
                        beams=beams,
                        max_length=self.writing.max_length,
                        min_length=self.writing.min_length,
                    ).numpy(),
                    self.vocabulary.pad_id,
                )
            ]
        return self._texts[beams]

    @cached_property
    def batches(self) -> list[ReferencePart]:
        """Every batch of samples with PyTorch's states and logits of it."""
        with torch.inference_mode():
            return [self._part_of(batch) for batch in batches_of(self.samples, _BATCH)]

    def _part_of(self, batch: WriterSamples) -> ReferencePart:
        generator, pixels = self.generator, torch.from_numpy(batch.pixel_values)
        targets = torch.from_numpy(batch.target_ids)
        questions, ids, mask = None, None, None
        if batch.question_ids is not None:
            questions = torch.from_numpy(batch.question_ids)
            ids, mask = as_question(batch.question_ids, self.vocabulary)
        image: Array = generator.vision_model(pixel_values=pixels).last_hidden_state.numpy()
        states, _ = generator.context(pixels, questions, len(targets))
        inputs, labels, _ = force_targets(targets, generator.vocabulary)
        logits = generator(pixels, targets, questions).logits.numpy()
        return ReferencePart(batch, image, states.numpy(), ids, mask, inputs.numpy(), labels.numpy(), logits)


@dataclass(frozen=True)
class ReferencePart:
    """One batch in PyTorch: the picture's states, what the decoder attends to, what it reads and gives."""

    samples: WriterSamples
    image: Array
    states: Array
    question_ids: Ids | None
    mask: NDArray[np.bool_] | None
    inputs: Ids
    labels: Ids
    logits: Array


def batches_of(samples: WriterSamples, size: int) -> Iterator[WriterSamples]:
    """The samples in batches, the last one smaller."""
    for start in range(0, len(samples), size):
        rows = slice(start, start + size)
        questions = None if samples.question_ids is None else samples.question_ids[rows]
        yield WriterSamples(samples.pixel_values[rows], samples.target_ids[rows], questions)


def texts_of(ids: Ids, pad_id: int) -> list[list[int]]:
    """Texts without the padding behind them."""
    return [row[: int(np.flatnonzero(row != pad_id).max(initial=-1)) + 1].tolist() for row in ids]
