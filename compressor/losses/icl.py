"""Interactive contrastive learning: the student's anchors against the teacher's other modality (CLIP-KD)."""

from __future__ import annotations

from torch import Tensor

from compressor.losses.contrastive import contrastive_loss
from compressor.losses.pairs import both_sides, hidden_entries


def icl_loss(
    student_image: Tensor,
    student_text: Tensor,
    teacher_image: Tensor,
    teacher_text: Tensor,
    temperature: float = 0.05,
    mask: Tensor | None = None,
) -> Tensor:
    """InfoNCE of student images against teacher texts and of student texts against teacher images.

    The mean of the two, each with the other samples of the batch as negatives (arXiv 2307.12732, ICL). Unlike
    `affinity_loss` it puts student and teacher into one similarity matrix, so that the student lands in the
    teacher's own space.

    Args:
        student_image: (B, D), any floating dtype and any length of rows; cosines are compared.
        student_text: (B, D), row i describes image i.
        teacher_image: (B, D), the student's width. Gradients flow into the teacher if it asks.
        teacher_text: (B, D).
        temperature: above 0.
        mask: bool (B, B), true where image i and text j must not be each other's negatives (another caption
            of the same image). The diagonal always counts.

    Returns:
        Scalar, float32 (float64 if an input is float64). One row or none gives 0.

    Raises:
        ValueError: for shapes that do not fit or a temperature that is not positive.
    """
    v, t, V, T = both_sides(student_image, student_text, teacher_image, teacher_text, same_width=True)
    hidden = hidden_entries(mask, v)
    images = contrastive_loss(v, T, temperature, negative_mask=hidden)
    texts = contrastive_loss(t, V, temperature, negative_mask=None if hidden is None else hidden.T)
    return (images + texts) / 2
