"""One loss of a recipe over one (global) batch: which rows it looks at and which terms it adds up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from compressor.losses.affinity import affinity_loss, affinity_to_distributions
from compressor.losses.batch import EmbeddingBatch
from compressor.losses.contrastive import contrastive_over_batch
from compressor.losses.ensemble import Member, mean_distributions
from compressor.losses.feature import feature_over_batch
from compressor.losses.gradient import gradient_loss
from compressor.losses.gram import gram_loss
from compressor.losses.hard_negative import hard_negative_over_batch
from compressor.losses.icl import icl_loss
from compressor.losses.masked_feature import masked_feature_loss
from compressor.losses.queue import TeacherQueue
from compressor.losses.rkd_distance import rkd_distance_loss
from compressor.losses.similarity import similarity_over_batch
from compressor.losses.task import task_over_batch
from compressor.recipe.losses import (
    AffinityLoss,
    ContrastiveLoss,
    FeatureLoss,
    GradientLoss,
    GramLoss,
    HardNegativeLoss,
    InteractiveContrastiveLoss,
    LossConfig,
    MaskedFeatureLoss,
    RKDDistanceLoss,
    SimilarityLoss,
    TaskLoss,
)

IN_TEACHER_WIDTH = (
    ContrastiveLoss,
    FeatureLoss,
    SimilarityLoss,
    HardNegativeLoss,
    InteractiveContrastiveLoss,
    GradientLoss,
    MaskedFeatureLoss,
)
"""Losses that compare a student row with a teacher row; the others compare relations within each model."""


@dataclass(frozen=True)
class Rows:
    """A batch and the part of it that has captions."""

    all: EmbeddingBatch

    @cached_property
    def captioned(self) -> EmbeddingBatch:
        return self.all.captioned()

    @property
    def four(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """v, t, V, T of the captioned rows."""
        rows = self.captioned
        return rows.student_image, rows.student_text, rows.teacher("image"), rows.teacher("text")

    @property
    def same_sample(self) -> Tensor:
        """bool (B, B) over the captioned rows: pairs that must not be each other's negatives."""
        return self.captioned.sample[:, None] == self.captioned.sample[None, :]


def loss_over_batch(
    config: LossConfig,
    own: Rows,
    taught: Rows,
    queue: TeacherQueue | None,
    members: Sequence[Member] = (),
) -> Tensor:
    """The unweighted value of one loss on embeddings: a scalar.

    Args:
        config: the loss as the recipe has it.
        own: the batch with student rows in the student's own width.
        taught: the batch with student rows in the teacher's width, which may be the same.
        queue: earlier teacher rows for `contrastive`.
        members: of the ensemble whose joined rows the teacher's are; none for a single teacher.

    Raises:
        ValueError: if the batch lacks what the loss looks at.
    """
    match config:
        case TaskLoss():
            return task_over_batch(own.captioned)
        case ContrastiveLoss():
            return contrastive_over_batch(taught.all, taught.captioned, config, queue)
        case FeatureLoss():
            return feature_over_batch(taught.all, taught.captioned, config.norm)
        case SimilarityLoss():
            return similarity_over_batch(taught.all, taught.captioned)
        case HardNegativeLoss():
            return hard_negative_over_batch(taught.captioned, config.margin, config.mining)
        case AffinityLoss(ensemble="distributions"):
            return _affinity_to_ensemble(config, own, members)
        case AffinityLoss():
            return affinity_loss(
                *own.four,
                temperature=config.temperature,
                teacher_temperature=config.teacher_temperature,
                divergence=config.divergence,
                mask=own.same_sample,
            )
        case InteractiveContrastiveLoss():
            return icl_loss(*taught.four, temperature=config.temperature, mask=taught.same_sample)
        case GradientLoss():
            return gradient_loss(
                *taught.four,
                temperature=config.temperature,
                mask=taught.same_sample,
                reduction=config.reduction,
            )
        case GramLoss():
            return gram_loss(*own.four, level=config.level)
        case RKDDistanceLoss():
            images = rkd_distance_loss(own.all.student_image, own.all.teacher("image"))
            captioned = own.captioned
            return images + rkd_distance_loss(captioned.student_text, captioned.teacher("text"))
        case MaskedFeatureLoss():
            if taught.all.student_masked_image is None:
                raise ValueError("masked_feature needs embeddings of masked images, and the batch has none")
            return masked_feature_loss(
                taught.all.student_masked_image, taught.all.teacher("image"), config.norm
            )
    raise ValueError(f"the loss {config.kind!r} is not one on embeddings")


def _affinity_to_ensemble(config: AffinityLoss, own: Rows, members: Sequence[Member]) -> Tensor:
    if not members:
        raise ValueError("affinity to the distributions of an ensemble needs its members, and there are none")
    v, t, V, T = own.four
    temperature = config.teacher_temperature or config.temperature
    image_to_text, text_to_image = mean_distributions(V, T, members, temperature, own.same_sample)
    return affinity_to_distributions(
        v,
        t,
        image_to_text,
        text_to_image,
        temperature=config.temperature,
        divergence=config.divergence,
        mask=own.same_sample,
    )
