"""Distance of the student's embedding to the teacher's (arXiv 2404.10838; CLIP-KD's feature distillation)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from compressor.losses.batch import EmbeddingBatch
from compressor.losses.rows import mean_over_rows, paired, without_autocast


def feature_loss(student: Tensor, teacher: Tensor, norm: Literal["l1", "l2"] = "l1") -> Tensor:
    """Mean over all B·D elements of |s − T| (`l1`) or (s − T)² (`l2`).

    The rows are taken as they are, not scaled to unit length: this loss may also teach lengths. On unit rows
    `l2` equals 4/D times `similarity_loss`. CLIP-KD weighs its squared error with 2000.

    Args:
        student: (B, D), any floating dtype.
        teacher: (B, D).
        norm: `l1` or `l2`.

    Returns:
        Scalar, float32 (float64 if an input is float64). No rows give 0.

    Raises:
        ValueError: for shapes that differ or an unknown norm.
    """
    if norm not in ("l1", "l2"):
        raise ValueError(f"norm must be 'l1' or 'l2', got {norm!r}")
    with without_autocast(student):
        student, teacher = paired(student, teacher)
        difference = student - teacher
        return mean_over_rows(difference.abs() if norm == "l1" else difference.square())


def feature_over_batch(batch: EmbeddingBatch, captioned: EmbeddingBatch, norm: Literal["l1", "l2"]) -> Tensor:
    """feature_loss of v, V over all rows plus that of t, T over the rows with a caption."""
    return feature_loss(batch.student_image, batch.teacher("image"), norm) + feature_loss(
        captioned.student_text, captioned.teacher("text"), norm
    )
