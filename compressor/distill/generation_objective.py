"""A model that writes at its training: forced on the ground truth, beside a teacher forced on the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from compressor.data.generation import GenerationBatch
from compressor.data.loader import Batch, normalize_pixels
from compressor.distill.generation_maps import GenerationAlignment
from compressor.distill.generation_teacher import Taught, WritingTeacher
from compressor.distill.objective import SeedPiece, Step, mean_of_all
from compressor.errors import ModelError
from compressor.losses.generation import GenerationLosses
from compressor.losses.logits import logit_loss
from compressor.preprocess.spec import ImageSpec
from compressor.recipe.losses import LogitsLoss
from compressor.students.blip_checkpoint import save_blip_checkpoint
from compressor.students.checkpoint import WEIGHTS_FILE
from compressor.students.generator import IGNORED, GenerativeModel, Generator, check_same_tokens, task_loss
from compressor.students.weights import load_weights, read_weights

if TYPE_CHECKING:
    from compressor.distill.job import GenerationJob

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
Inputs = tuple[Tensor, Tensor, Tensor | None]
"""Pixels (B, 3, H, W) uint8, target ids (B, L), question ids (B, M) or None."""


class Writer(nn.Module):
    """The student with the terms of its losses behind one `forward`, which is what DistributedDataParallel
    wraps: logits are too large to be handed around."""

    def __init__(
        self,
        generator: Generator,
        spec: ImageSpec,
        losses: GenerationLosses,
        alignment: GenerationAlignment | None,
    ) -> None:
        super().__init__()
        assert isinstance(generator, nn.Module)
        self.generator = generator
        self._spec = spec
        self._losses = losses.plain
        self._alignment = alignment

    def forward(
        self, pixels: Tensor, target_ids: Tensor, question_ids: Tensor | None, taught: Taught | None
    ) -> dict[str, Tensor]:
        """`terms` (T,) in the order of `GenerationLosses`, and the `weights` (T,) of the things that each is
        a mean over: labelled tokens, or entries of attention maps (rows, where the recipe's reduction says
        so). Means of parts of a batch, weighted so, give the mean of the batch (of amad's `rkd`, which
        compares rows, only nearly)."""
        output = self.generator(normalize_pixels(pixels, self._spec), target_ids, question_ids)
        labelled = output.labels != IGNORED
        count = labelled.sum().to(torch.float32)
        terms: list[tuple[Tensor, Tensor]] = []
        for config in self._losses:
            if isinstance(config, LogitsLoss):
                assert taught is not None  # a recipe with this loss and without a teacher is refused
                terms.append((logit_loss(output.logits, taught.logits, config.temperature, labelled), count))
            else:
                terms.append((task_loss(output.logits, output.labels), count))
        if self._alignment is not None:
            assert taught is not None
            terms += self._alignment.terms(taught.maps, output)
        values, weights = zip(*terms, strict=True)
        return {"terms": torch.stack(values), "weights": torch.stack(weights)}


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
        self._writer = accelerator.prepare_model(
            Writer(job.model.generator, spec, self._losses, self._alignment)
        )

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
        device = self._accelerator.device
        assert isinstance(batch, GenerationBatch)
        assert batch.target_ids is not None
        asks = self._job.model.generator.head == "vqa"
        inputs = (batch.pixels, batch.target_ids, batch.input_ids if asks else None)
        size = self._job.section.micro_batch_size or len(batch.index)
        pieces = _pieces(inputs, size, device)
        taught = self._taught(batch, pieces, size)
        single = len(pieces) == 1
        with nullcontext() if single else torch.no_grad():
            parts = [self._forward(number, seed_piece, pieces, taught) for number in range(len(pieces))]
        weights = torch.stack([part["weights"] for part in parts])
        total = weights.sum(dim=0)
        shares = weights / total.clamp(min=1)
        terms = torch.stack([part["terms"] for part in parts]).detach()
        leaf = (terms * shares).sum(dim=0).requires_grad_()

        def backward() -> None:
            assert leaf.grad is not None
            if single:
                parts[0]["terms"].backward(leaf.grad * shares[0])
                return
            for number in range(len(pieces)):
                last = number == len(pieces) - 1
                with nullcontext() if last else self._accelerator.no_sync(self._writer):
                    again = self._forward(number, seed_piece, pieces, taught)
                    again["terms"].backward(leaf.grad * shares[number])

        return Step(self._losses(mean_of_all(leaf, total)), (), backward, lambda: None)

    def validate(self) -> dict[str, float]:
        if self._job.validate is None:
            return {}
        self.model.eval()
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

    def _taught(self, batch: Batch, pieces: Sequence[Inputs], size: int) -> list[Taught | None]:
        """The teacher's side of every piece; kept for the second pass over it."""
        if self._teacher is None:
            return [None] * len(pieces)
        pixels = batch.pixels if self._place is None else batch.teachers[self._place].pixels
        assert pixels is not None
        return [
            self._teacher(own, target_ids, question_ids)
            for own, (_, target_ids, question_ids) in zip(pixels.split(size), pieces, strict=True)
        ]

    def _forward(
        self, number: int, seed_piece: SeedPiece, pieces: Sequence[Inputs], taught: Sequence[Taught | None]
    ) -> dict[str, Tensor]:
        seed_piece(number)
        outputs: dict[str, Tensor] = self._writer(*pieces[number], taught[number])
        return outputs


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


def _pieces(inputs: Inputs, size: int, device: torch.device) -> list[Inputs]:
    """The rows of a batch on their device, at most `size` together."""
    pixels, target_ids, question_ids = (
        None if part is None else part.to(device, non_blocking=True).split(size) for part in inputs
    )
    assert pixels is not None
    assert target_ids is not None
    return [
        (pixels[k], target_ids[k], None if question_ids is None else question_ids[k])
        for k in range(len(pixels))
    ]
