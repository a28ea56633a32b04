"""Cosine of student and teacher as a loss between 0 and 1 (arXiv 2404.10838)."""

from __future__ import annotations

from torch import Tensor

from compressor.losses.batch import EmbeddingBatch
from compressor.losses.rows import mean_over_rows, paired, unit_rows, without_autocast


def similarity_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over rows of 1 − (cos(s, T) + 1) / 2: 0 for the same direction, 1 for the opposite one.

    Args:
        student: (B, D), any floating dtype and any length of rows; a zero vector has the
            cosine 0 to everything.
        teacher: (B, D).

    Returns:
        Scalar in [0, 1], float32 (float64 if an input is float64). No rows give 0.

    Raises:
        ValueError: for shapes that differ.
    """
    with without_autocast(student):
        student, teacher = paired(student, teacher)
        cosine = (unit_rows(student) * unit_rows(teacher)).sum(dim=1)
        # Rounding may lift a cosine above 1; a balancer that divides by the loss must never see it below 0.
        return mean_over_rows(1 - (cosine.clamp(-1, 1) + 1) / 2)


def similarity_over_batch(batch: EmbeddingBatch, captioned: EmbeddingBatch) -> Tensor:
    """similarity_loss of v, V over all rows plus that of t, T over the rows with a caption."""
    return similarity_loss(batch.student_image, batch.teacher("image")) + similarity_loss(
        captioned.student_text, captioned.teacher("text")
    )
