"""What losses over image-text pairs share: four sides that fit, a mask that spares the diagonal."""

from __future__ import annotations

import torch
from torch import Tensor

from compressor.losses.rows import full_precision, paired

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 1e-6, 1e6
"""Beyond these a softmax of float32 numbers overflows, or forgets what it was given."""


def both_sides(
    student_image: Tensor,
    student_text: Tensor,
    teacher_image: Tensor,
    teacher_text: Tensor,
    same_width: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four in one dtype of full precision: (B, D) of the student, (B, E) of the teacher.

    Raises:
        ValueError: if an image side differs in shape from its text side, teacher and student have different
            numbers of rows or, with `same_width`, D differs from E.
    """
    paired(student_image, student_text)
    paired(teacher_image, teacher_text)
    if same_width:
        paired(student_image, teacher_image)
    if len(student_image) != len(teacher_image):
        raise ValueError(
            f"student (B, D) and teacher (B, E) must have the same number of rows, got {len(student_image)} "
            f"and {len(teacher_image)}"
        )
    v, t, V, T = full_precision(student_image, student_text, teacher_image, teacher_text)
    return v, t, V, T


def hidden_entries(mask: Tensor | None, rows: Tensor) -> Tensor | None:
    """What must not count among the (B, B) similarities of (B, D) rows: the mask, but never the diagonal.

    Raises:
        ValueError: if the mask has not the shape (B, B).
    """
    if mask is None:
        return None
    size = len(rows)
    if mask.shape != (size, size):
        raise ValueError(f"mask must have the shape {(size, size)}, got {tuple(mask.shape)}")
    own = torch.eye(size, dtype=torch.bool, device=rows.device)
    return mask.to(device=rows.device, dtype=torch.bool) & ~own


def check_temperature(*temperatures: float) -> None:
    """Raise ValueError for a temperature that is not positive, or beyond what float32 logits survive."""
    for temperature in temperatures:
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        if not LOWEST_TEMPERATURE <= temperature <= HIGHEST_TEMPERATURE:
            bounds = f"{LOWEST_TEMPERATURE:g} to {HIGHEST_TEMPERATURE:g}"
            raise ValueError(f"temperature must be from {bounds}, got {temperature}")
