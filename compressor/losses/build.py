"""From the recipe's list of losses to one module that computes them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from compressor.errors import RecipeError
from compressor.losses.batch import EmbeddingBatch
from compressor.losses.contrastive import contrastive_over_batch
from compressor.losses.feature import feature_over_batch
from compressor.losses.hard_negative import hard_negative_over_batch
from compressor.losses.queue import TeacherQueue
from compressor.losses.rows import full_precision, unit_rows, without_autocast
from compressor.losses.similarity import similarity_over_batch
from compressor.losses.task import task_over_batch
from compressor.recipe.losses import (
    ContrastiveLoss,
    FeatureLoss,
    HardNegativeLoss,
    LossConfig,
    SimilarityLoss,
    TaskLoss,
)


class LossSet(nn.Module):
    """All losses of a recipe over one (global) batch.

    A loss with several terms adds them up: `contrastive` v→V, t→T, v→T, t→V as its `pairs` say, `feature` and
    `similarity` (v, V) and (t, T), `hard_negative` (v, V), (t, T), (v, T), (t, V). `task` is the mean of its
    two directions, as in CLIP. Rows without a caption count on the image side only.

    **Projection.** Where the widths differ a linear map `project` takes student rows to the teacher's width
    for the losses against the teacher; the task loss and the finished student do not see it. Image and text
    share the one map: separate maps could close the gap between the modalities by themselves, and leave it
    open in the student's own space, where retrieval happens. It starts as an isometry (orthonormal columns)
    for a narrower student and as an orthogonal projection (orthonormal rows) for a wider one. A narrower
    student reaches a subspace of the teacher's space only, so its feature loss has a floor above zero.

    **Several processes.** Give it the batch of `gather_batch`: every process then computes the same losses
    and the full gradient of `project`, which starts equal everywhere (seeded); wrapping in DDP is not needed
    and does no harm.
    """

    def __init__(
        self, configs: Sequence[LossConfig], student_dim: int, teacher_dim: int | None, seed: int = 0
    ) -> None:
        super().__init__()
        self.configs = tuple(configs)
        self.project: nn.Linear | None = None
        self.queue: TeacherQueue | None = None
        if teacher_dim is None:
            return
        if self.needs_teacher and student_dim != teacher_dim:
            self.project = nn.Linear(student_dim, teacher_dim, bias=False)
            generator = torch.Generator().manual_seed(seed)
            nn.init.orthogonal_(self.project.weight, generator=generator)
        size = max((each.queue for each in self.configs if isinstance(each, ContrastiveLoss)), default=0)
        if size:
            self.queue = TeacherQueue(size, teacher_dim)

    @property
    def needs_teacher(self) -> bool:
        """True when at least one loss looks at teacher embeddings."""
        return any("embeddings" in config.requires for config in self.configs)

    def forward(self, batch: EmbeddingBatch) -> dict[str, Tensor]:
        """Every loss under its kind: a scalar times its `weight`, float32 (float64 for float64 embeddings).

        Autocast is off inside. Teacher rows are constants here: no gradient flows into them.

        Raises:
            ValueError: if a loss needs the teacher and the batch carries none, or a width is not the expected
            one.
        """
        with without_autocast(batch.student_image):
            plain = _full_precision_batch(batch)
            plain_captioned = plain.captioned()
            taught, taught_captioned = plain, plain_captioned
            if self.project is not None:
                taught = self._in_teacher_width(plain)
                taught_captioned = taught.captioned()
            losses: dict[str, Tensor] = {}
            for config in self.configs:
                if isinstance(config, TaskLoss):
                    value = task_over_batch(plain_captioned)
                else:
                    value = self._against_teacher(config, taught, taught_captioned)
                losses[config.kind] = config.weight * value
            return losses

    def _against_teacher(
        self, config: LossConfig, batch: EmbeddingBatch, captioned: EmbeddingBatch
    ) -> Tensor:
        match config:
            case ContrastiveLoss():
                return contrastive_over_batch(batch, captioned, config, self.queue)
            case FeatureLoss():
                return feature_over_batch(batch, captioned, config.norm)
            case SimilarityLoss():
                return similarity_over_batch(batch, captioned)
            case HardNegativeLoss():
                return hard_negative_over_batch(captioned, config.margin, config.mining)
        raise ValueError(f"no implementation for the loss {config.kind!r}")

    def _in_teacher_width(self, batch: EmbeddingBatch) -> EmbeddingBatch:
        if self.project is None:
            return batch
        weight = self.project.weight.to(batch.student_image.dtype)
        return replace(
            batch,
            student_image=unit_rows(batch.student_image @ weight.T),
            student_text=unit_rows(batch.student_text @ weight.T),
        )

    @torch.no_grad()
    def update_queue(
        self, teacher_image: Tensor, teacher_text: Tensor, sample: Tensor, has_text: Tensor
    ) -> None:
        """Remember the teacher's rows of this (global) batch as later negatives; call once per optimiser
        step.

        Args:
            teacher_image: (B, E); in several processes the gathered rows, or the queues would differ.
            teacher_text: (B, E).
            sample: int64 (B,).
            has_text: bool (B,).
        """
        if self.queue is not None:
            self.queue.push(teacher_image, teacher_text, sample, has_text)


def _full_precision_batch(batch: EmbeddingBatch) -> EmbeddingBatch:
    """Unit rows in one dtype (autocast may have left half precision), the teacher's cut off the graph."""
    image, text = full_precision(batch.student_image, batch.student_text)
    has_text = batch.has_text.to(torch.bool)
    teacher_image, teacher_text = batch.teacher_image, batch.teacher_text
    if teacher_image is not None and teacher_text is not None:
        teacher_image = unit_rows(teacher_image.detach().to(image.dtype))
        teacher_text = unit_rows(_where_captioned(teacher_text.detach().to(image.dtype), has_text))
    return replace(
        batch,
        student_image=unit_rows(image),
        student_text=unit_rows(_where_captioned(text, has_text)),
        teacher_image=teacher_image,
        teacher_text=teacher_text,
        has_text=has_text,
    )


def _where_captioned(rows: Tensor, has_text: Tensor) -> Tensor:
    """Zeros for absent captions: a masked logit of a NaN row would still bring NaN into the gradient."""
    return rows.masked_fill(~has_text[:, None], 0)


def build_losses(
    configs: Sequence[LossConfig], student_dim: int, teacher_dim: int | None, seed: int = 0
) -> LossSet:
    """The losses of a recipe as one module.

    Args:
        configs: `distill.losses`.
        student_dim: width of the student's embeddings.
        teacher_dim: width of the teacher's, None without a teacher.
        seed: of the projection's start; equal seeds give equal projections in every process.

    Raises:
        RecipeError: for a loss that needs a teacher where there is none, and for `contrastive` without any
        negatives.
    """
    for config in configs:
        if teacher_dim is None and config.requires:
            raise RecipeError(
                f"distill.losses: '{config.kind}' needs a teacher's {', '.join(sorted(config.requires))} and "
                "there is no teacher; name one or keep the task loss alone"
            )
        if isinstance(config, ContrastiveLoss) and not config.queue and not config.batch_negatives:
            raise RecipeError(
                "distill.losses: 'contrastive' has no negatives with queue: 0 and batch_negatives: false; "
                "allow one of them"
            )
    return LossSet(configs, student_dim, teacher_dim, seed)
