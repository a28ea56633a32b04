"""Max-margin triplets against the hardest negatives (VSE++, arXiv 1707.05612; arXiv 2404.10838)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from compressor.losses.batch import EmbeddingBatch
from compressor.losses.rows import mean_over_rows, paired, unit_rows, without_autocast


def hard_negative_loss(
    student: Tensor,
    teacher: Tensor,
    margin: float = 0.05,
    mining: Literal["hardest", "sum"] = "hardest",
    negative_mask: Tensor | None = None,
) -> Tensor:
    """Hinge of every matching pair against the mismatched pairs of its row and of its column.

    With the cosines S_ij = cos(s_i, T_j) and [x]₊ = max(0, x):

        hardest: mean_i ( max_{j≠i} [margin + S_ij − S_ii]₊ + max_{j≠i} [margin + S_ji − S_ii]₊ )
        sum:     mean_i ( sum_{j≠i} [margin + S_ij − S_ii]₊ + sum_{j≠i} [margin + S_ji − S_ii]₊ )

    That is: the two directions are added, not averaged, and the mean is taken over the B rows (VSE++ adds
    them up). One row has no negative and gives 0.

    Args:
        student: (B, D), any floating dtype and any length of rows.
        teacher: (B, D).
        margin: in units of the cosine.
        mining: the hardest negative of each row and column, or all of them.
        negative_mask: bool (B, B), true where the pair (s_i, T_j) must not count as a negative, in either
            direction; the diagonal never does.

    Returns:
        Scalar, float32 (float64 if an input is float64).

    Raises:
        ValueError: for shapes that differ or an unknown mining.
    """
    if mining not in ("hardest", "sum"):
        raise ValueError(f"mining must be 'hardest' or 'sum', got {mining!r}")
    with without_autocast(student):
        student, teacher = paired(student, teacher)
        size = len(student)
        if negative_mask is not None and negative_mask.shape != (size, size):
            raise ValueError(
                f"negative_mask must have the shape {(size, size)}, got {tuple(negative_mask.shape)}"
            )
        if size < 2:
            return 0 * (student.sum() + teacher.sum())
        cosines = unit_rows(student) @ unit_rows(teacher).T
        excluded = torch.eye(size, dtype=torch.bool, device=cosines.device)
        if negative_mask is not None:
            excluded = excluded | negative_mask.to(device=cosines.device, dtype=torch.bool)
        positive = cosines.diagonal()
        negative = cosines.masked_fill(excluded, -torch.inf)
        if mining == "hardest":
            rows = margin + negative.amax(dim=1) - positive
            columns = margin + negative.amax(dim=0) - positive
            return mean_over_rows(rows.relu() + columns.relu())
        rows = margin + negative - positive[:, None]
        columns = margin + negative - positive[None, :]
        return (rows.relu() + columns.relu()).sum() / size


def hard_negative_over_batch(
    captioned: EmbeddingBatch, margin: float, mining: Literal["hardest", "sum"]
) -> Tensor:
    """Sum of hard_negative_loss over (v, V), (t, T), (v, T) and (t, V), on rows with a caption.

    Rows of the same sample are not negatives of each other.
    """
    same = captioned.sample[:, None] == captioned.sample[None, :]
    pairs = (
        (captioned.student_image, captioned.teacher("image")),
        (captioned.student_text, captioned.teacher("text")),
        (captioned.student_image, captioned.teacher("text")),
        (captioned.student_text, captioned.teacher("image")),
    )
    terms = [hard_negative_loss(student, teacher, margin, mining, same) for student, teacher in pairs]
    return torch.stack(terms).sum()
