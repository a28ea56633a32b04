"""A model that writes at its training: forced on the ground truth, beside a teacher forced on the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from compressor.data.generation import GenerationBatch
from compressor.data.loader import Batch
from compressor.distill.generation_maps import GenerationAlignment
from compressor.distill.generation_teacher import Taught, WritingTeacher
from compressor.distill.objective import SeedPiece, Step, mean_of_all
from compressor.distill.writer import Piece, Writer
from compressor.errors import ModelError
from compressor.losses.balancer import build_balancer
from compressor.losses.generation import GenerationLosses
from compressor.students.blip_checkpoint import save_blip_checkpoint
from compressor.students.checkpoint import WEIGHTS_FILE
from compressor.students.generator import GenerativeModel, check_same_tokens
from compressor.students.weights import load_weights, read_weights

if TYPE_CHECKING:
    from compressor.distill.job import GenerationJob

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class GenerationObjective:
    """An `Objective` on the next token."""

    def __init__(self, job: GenerationJob, accelerator: Accelerator) -> None:
        """Raises `ModelError` for a teacher of other tokens, and layers that do not fit the models."""
        generator = job.model.generator
        assert isinstance(generator, nn.Module)
        self._job, self._accelerator = job, accelerator
        self.model: nn.Module = generator
        self._losses = GenerationLosses(job.losses).to(accelerator.device)
        self.parts: Mapping[str, nn.Module] = {"losses": self._losses}
        self._teacher: WritingTeacher | None = None
        self._alignment: GenerationAlignment | None = None
        if job.teacher is not None:
            check_same_tokens(job.teacher, job.model)
            if self._losses.alignment is not None:
                self._alignment = GenerationAlignment(
                    self._losses.alignment, job.model.generator, job.teacher.generator
                )
        self._place = _teacher_place(job)
        spec = job.model.preprocessor.image
        self._student = Writer(job.model.generator, spec, self._losses.plain, self._alignment)
        self._writer = accelerator.prepare_model(self._student)
        self._fixed_weights = build_balancer(job.balancer).fixed_weights

    def prepare(self) -> None:
        job = self._job
        if job.teacher is not None and any(loss.requires for loss in job.losses):
            self._teacher = WritingTeacher(
                job.teacher,
                self._accelerator.device,
                batch_size=job.teacher_batch,
                amad=self._losses.alignment,
                dtype=_DTYPES.get(job.section.precision),
            )

    def step(self, batch: Batch, seed_piece: SeedPiece) -> Step:
        pieces = self._pieces(batch)
        counts = torch.stack([self._student.counts(piece) for piece in pieces])
        if len(pieces) > 1 and self._fixed_weights and self._losses.settled:
            return self._one_pass(pieces, counts, seed_piece)
        return self._two_passes(pieces, counts, seed_piece)

    def _one_pass(self, pieces: Sequence[Piece], counts: Tensor, seed_piece: SeedPiece) -> Step:
        """Every piece forward and backward at once, where what the total asks of the terms is known before.

        Of the whole batch nothing is kept, neither the teacher's logits nor a graph.
        """
        total, shares = _shares(counts)
        slope = self._slope(total)
        terms = torch.zeros_like(total)
        for number, piece in enumerate(pieces):
            with self._reducing(last=number == len(pieces) - 1):
                found = self._forward(number, piece, self._taught(piece), seed_piece)
                found.backward(slope * shares[number])
            terms += found.detach() * shares[number]
        return Step(self._losses(mean_of_all(terms.requires_grad_(), total)), (), _nothing, _nothing)

    def _two_passes(self, pieces: Sequence[Piece], counts: Tensor, seed_piece: SeedPiece) -> Step:
        """The terms of the whole batch without gradients, then, with what the total asks of them, every piece
        again. One piece alone keeps its graph instead."""
        total, shares = _shares(counts)
        single = len(pieces) == 1
        taught = [self._taught(piece) for piece in pieces]
        with nullcontext() if single else torch.no_grad():
            terms = [
                self._forward(number, piece, taught[number], seed_piece)
                for number, piece in enumerate(pieces)
            ]
        leaf = (torch.stack(terms).detach() * shares).sum(dim=0).requires_grad_()

        def backward() -> None:
            assert leaf.grad is not None
            if single:
                terms[0].backward(leaf.grad * shares[0])
                return
            for number, piece in enumerate(pieces):
                with self._reducing(last=number == len(pieces) - 1):
                    again = self._forward(number, piece, taught[number], seed_piece)
                    again.backward(leaf.grad * shares[number])

        return Step(self._losses(mean_of_all(leaf, total)), (), backward, _nothing)

    def _slope(self, total: Tensor) -> Tensor:
        """What the plain sum of the losses asks of each term of this process (T,), whatever their values."""
        anywhere = torch.zeros_like(total).requires_grad_()
        losses = self._losses(mean_of_all(anywhere, total))
        self._accelerator.backward(torch.stack(list(losses.values())).sum())
        assert anywhere.grad is not None
        return anywhere.grad

    def _reducing(self, *, last: bool) -> AbstractContextManager[None]:
        """Processes send each other their gradients with the last piece, when those of all have added up."""
        return nullcontext() if last else self._accelerator.no_sync(self._writer)

    def validate(self) -> dict[str, float]:
        if self._job.validate is None:
            return {}
        self.model.eval()
        with nullcontext() if self._alignment is None else self._alignment.paused():
            return self._job.validate(self._job.model.generator)

    def save(self, folder: Path) -> None:
        save_blip_checkpoint(self._job.model, folder)

    def load(self, folder: Path) -> None:
        load_blip_weights(self._job.model, folder)

    def close(self) -> None:
        if self._alignment is not None:
            self._alignment.detach()
        if self._teacher is not None:
            self._teacher.detach()

    def _pieces(self, batch: Batch) -> list[Piece]:
        """The pictures of a batch on their device, as many together as the recipe says, with their texts."""
        assert isinstance(batch, GenerationBatch)
        assert batch.target_ids is not None
        size = self._job.section.micro_batch_size or len(batch.index)
        asks = self._job.model.generator.head == "vqa"
        texts = size * (len(batch.target_ids) // len(batch.pixels))
        parts = ((batch.pixels, size), (batch.target_ids, texts), (batch.input_ids if asks else None, texts))
        pixels, target_ids, question_ids = (
            None if part is None else part.to(self._accelerator.device, non_blocking=True).split(rows)
            for part, rows in parts
        )
        assert pixels is not None
        assert target_ids is not None
        shown = None
        if self._teacher is not None:
            shown = batch.pixels if self._place is None else batch.teachers[self._place].pixels
            assert shown is not None
        theirs = None if shown is None else shown.split(size)
        return [
            Piece(
                pixels[k],
                target_ids[k],
                None if question_ids is None else question_ids[k],
                None if theirs is None else theirs[k],
            )
            for k in range(len(pixels))
        ]

    def _taught(self, piece: Piece) -> Taught | None:
        """The teacher's side of a piece."""
        if self._teacher is None:
            return None
        assert piece.teacher_pixels is not None
        return self._teacher(piece.teacher_pixels, piece.target_ids, piece.question_ids)

    def _forward(self, number: int, piece: Piece, taught: Taught | None, seed_piece: SeedPiece) -> Tensor:
        seed_piece(number)
        terms: Tensor = self._writer(piece.pixels, piece.target_ids, piece.question_ids, taught)
        return terms


def load_blip_weights(model: GenerativeModel, folder: Path) -> None:
    """Put the weights of a checkpoint into the generator that it was saved from. Raises `ModelError`."""
    from compressor.students.blip import with_tied

    generator, path = model.generator, folder / WEIGHTS_FILE
    assert isinstance(generator, nn.Module)
    load_weights(generator, with_tied(read_weights(path)), path, f"the model '{model.name}'")


def _teacher_place(job: GenerationJob) -> int | None:
    """Where a batch has the teacher's pixels; None where they are the student's."""
    if job.teacher is None or job.teacher.preprocessor.image == job.model.preprocessor.image:
        return None
    wanted = job.teacher.preprocessor.image
    for place, teacher in enumerate(job.training_set.teachers):
        if getattr(teacher, "image", None) == wanted:
            return place
    raise ModelError(f"the training set does not prepare pictures for the teacher '{job.teacher.name}'")


def _shares(counts: Tensor) -> tuple[Tensor, Tensor]:
    """From the counts (P, T) of all pieces: those of the batch (T,), and the share of each piece (P, T)."""
    total = counts.sum(dim=0)
    return total, counts / total.clamp(min=1)


def _nothing() -> None:
    pass
