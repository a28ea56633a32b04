"""The student's embeddings shall be pulled as the teacher's are (gradient distillation, CLIP-KD)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from compressor.losses.pairs import both_sides, check_temperature, hidden_entries
from compressor.losses.rows import mean_over_rows, unit_rows, without_autocast


def gradient_loss(
    student_image: Tensor,
    student_text: Tensor,
    teacher_image: Tensor,
    teacher_text: Tensor,
    temperature: float = 0.05,
    teacher_temperature: float | None = None,
    mask: Tensor | None = None,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Squared error between the gradients of CLIP's loss with respect to the student's and teacher's rows.

    With L(v, t) CLIP's contrastive loss of unit rows at the temperature τ and elementwise means over B·D:

        mean (∂L/∂v (v, t) − ∂L/∂V (V, T))² + mean (∂L/∂t (v, t) − ∂L/∂T (V, T))²      (arXiv 2307.12732, GD)

    The gradients stop at the unit rows, they do not pass through the scaling to unit length. L is the mean
    of its two directions; CLIP-KD's code compares the four gradients of the two directions one by one, its
    paper those of L, as here. As published L is also the mean over the batch, so that gradients fall with
    1 / B and this loss with 1 / B²: CLIP-KD weighs it with 1e8. With `reduction="sum"` L is the sum over the
    batch, the loss is B² times as large, and a weight means the same at every batch size.

    Args:
        student_image: (B, D), any floating dtype and any length of rows.
        student_text: (B, D), row i describes image i.
        teacher_image: (B, D), the student's width. Gradients flow into the teacher if it asks.
        teacher_text: (B, D).
        temperature: τ of the student's L, above 0.
        teacher_temperature: τ of the teacher's L, the student's where None.
        mask: bool (B, B), true where image i and text j must not be each other's negatives in either L. The
            diagonal always counts.
        reduction: of L over the batch.

    Returns:
        Scalar, float32 (float64 if an input is float64). One row or none gives 0.

    Raises:
        ValueError: for shapes that do not fit, a temperature that is not positive or an unknown reduction.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
    teachers_own = temperature if teacher_temperature is None else teacher_temperature
    check_temperature(temperature, teachers_own)
    with without_autocast(student_image):
        sides = both_sides(student_image, student_text, teacher_image, teacher_text, same_width=True)
        v, t, V, T = map(unit_rows, sides)
        hidden = hidden_entries(mask, v)
        student = summed_clip_gradients(v, t, temperature, hidden)
        teacher = summed_clip_gradients(V, T, teachers_own, hidden)
        rows = max(len(v), 1) if reduction == "mean" else 1
        images, texts = (
            mean_over_rows(((s - z) / rows).square()) for s, z in zip(student, teacher, strict=True)
        )
        return images + texts


def summed_clip_gradients(
    image: Tensor, text: Tensor, temperature: float, hidden: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Gradients of CLIP's loss, summed over the batch, with respect to unit rows of images and texts.

    With P the softmax of v tᵀ / τ over its rows and Q over its columns, the mean of the two directions has
    the gradient G = ((P − I) + (Q − I)) / (2 τ) with respect to v tᵀ; so G t belongs to v and Gᵀ v to t.

    Args:
        image: (B, D) unit rows.
        text: (B, D) unit rows.
        temperature: τ.
        hidden: bool (B, B), entries that do not count, false on the diagonal.

    Returns:
        Two (B, D) tensors, part of the graph.
    """
    logits = image / temperature @ text.T
    if hidden is not None:
        logits = logits.masked_fill(hidden, -torch.inf)
    pull = (logits.softmax(dim=1) + logits.softmax(dim=0)) / 2
    pull = (pull - torch.eye(len(pull), dtype=pull.dtype, device=pull.device)) / temperature
    return pull @ text, pull.T @ image
