"""A dual encoder at its training: embeddings of the batch of all processes against the teacher's."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from accelerate import Accelerator
from torch import Tensor, nn

from compressor.data.loader import Batch
from compressor.distill.alignment import Alignment
from compressor.distill.engine import average_gradients
from compressor.distill.gradcache import Embedded, MicroBatches, Towers
from compressor.distill.objective import SeedPiece, Step, mean_of_all
from compressor.distill.schedule import training_views
from compressor.distill.signals import TeacherRows
from compressor.files import atomic_folder
from compressor.losses.batch import EmbeddingBatch
from compressor.losses.build import build_losses
from compressor.losses.distributed import gather_batch
from compressor.recipe.losses import AMADLoss, MaskedFeatureLoss
from compressor.students.checkpoint import WEIGHTS_FILE, save_checkpoint
from compressor.students.weights import load_weights, read_weights, save_weights

if TYPE_CHECKING:
    from compressor.distill.job import TrainingJob

Config = TypeVar("Config")


class RetrievalObjective:
    """An `Objective` on embeddings."""

    def __init__(self, job: TrainingJob, accelerator: Accelerator) -> None:
        """Raises `RecipeError` and `ModelError` for losses and layers that do not fit the models."""
        encoder, signals = job.model.encoder, job.signals
        assert isinstance(encoder, nn.Module)
        self._job, self._accelerator = job, accelerator
        self.model: nn.Module = encoder
        self.losses = build_losses(
            job.losses,
            encoder.embed_dim,
            None if signals is None else signals.dim,
            job.seed,
            () if signals is None else signals.members,
        ).to(accelerator.device)
        self.alignment = _alignment(job)
        self._towers = accelerator.prepare_model(
            Towers(encoder, job.model.preprocessor.image, _of_kind(job, MaskedFeatureLoss), self.alignment)
        )
        parts: dict[str, nn.Module] = {"losses": self.losses}
        if self.alignment is not None:
            parts["alignment"] = self.alignment
        self.parts: Mapping[str, nn.Module] = parts

    def prepare(self) -> None:
        job = self._job
        if job.signals is not None:
            views = training_views(job.section, len(job.training_set))
            job.signals.to(self._accelerator.device).prepare(views)

    def step(self, batch: Batch, seed_piece: SeedPiece) -> Step:
        device = self._accelerator.device
        teacher = None if self._job.signals is None else self._job.signals.for_batch(batch)
        size = min(self._job.section.micro_batch_size or len(batch.index), len(batch.index))
        pieces = MicroBatches(
            self._towers, size, seed_piece, partial(self._accelerator.no_sync, self._towers)
        )
        student = pieces.embed(
            batch.pixels.to(device, non_blocking=True),
            batch.input_ids.to(device, non_blocking=True),
            None if teacher is None else teacher.attention,
            batch.has_caption.to(device, non_blocking=True),
        )
        joined = joined_batch(student, batch, teacher)
        losses = self.losses(joined, alignment_of_all(student))
        rows = (student.image, student.text, student.masked_image)

        def backward() -> None:
            student.backward()
            average_gradients(self.losses)

        return Step(
            losses, [leaf for leaf in rows if leaf is not None], backward, partial(self._remember, joined)
        )

    def validate(self) -> dict[str, float]:
        validate = self._job.validate
        if validate is None:
            return {}
        self.model.eval()
        with nullcontext() if self.alignment is None else self.alignment.paused():
            return validate(self._job.model.encoder)

    def save(self, folder: Path) -> None:
        model = self._job.model
        if "family" in model.config:
            save_checkpoint(model, folder)
            return
        with atomic_folder(folder) as temporary:
            save_weights(self.model.state_dict(), temporary / WEIGHTS_FILE)

    def load(self, folder: Path) -> None:
        path = folder / WEIGHTS_FILE
        load_weights(self.model, read_weights(path), path, f"the model '{self._job.model.name}'")

    def close(self) -> None:
        if self.alignment is not None:
            self.alignment.detach()
        if self._job.signals is not None:
            self._job.signals.close()

    def _remember(self, joined: EmbeddingBatch) -> None:
        """Put the teacher's rows into the queue of negatives."""
        if joined.teacher_image is not None and joined.teacher_text is not None:
            self.losses.update_queue(
                joined.teacher_image, joined.teacher_text, joined.sample, joined.has_text
            )


def joined_batch(student: Embedded, batch: Batch, teacher: TeacherRows | None) -> EmbeddingBatch:
    """The embeddings of all processes' rows; gradients flow back into this process's."""
    device = student.image.device
    local = EmbeddingBatch(
        student_image=student.image,
        student_text=student.text,
        teacher_image=None if teacher is None else teacher.image,
        teacher_text=None if teacher is None else teacher.text,
        sample=batch.index.to(device, non_blocking=True),
        has_text=batch.has_caption.to(device, non_blocking=True),
        logit_scale=student.logit_scale,
        student_masked_image=student.masked_image,
        teacher_global=None if teacher is None else teacher.representation,
    )
    return gather_batch(local)


def alignment_of_all(student: Embedded) -> Tensor | None:
    """How far the attention maps of all processes' rows are from the teacher's: the sum of the terms.

    None where no loss compares attention maps.
    """
    terms, weight = student.alignment, student.alignment_weight
    return None if terms is None or weight is None else mean_of_all(terms, weight).sum()


def _alignment(job: TrainingJob) -> Alignment | None:
    """What compares attention maps, where a loss asks for it."""
    config = _of_kind(job, AMADLoss)
    return None if config is None else Alignment(config, job.model)


def _of_kind(job: TrainingJob, kind: type[Config]) -> Config | None:
    return next((loss for loss in job.losses if isinstance(loss, kind)), None)
