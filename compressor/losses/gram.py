"""How image and text relate to each other (modality-level Gram matrices, arXiv 2112.11447)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from compressor.losses.pairs import both_sides
from compressor.losses.rows import mean_over_rows, without_autocast


def gram_loss(
    student_image: Tensor,
    student_text: Tensor,
    teacher_image: Tensor,
    teacher_text: Tensor,
    level: Literal["sample", "batch"] = "sample",
) -> Tensor:
    """Squared Frobenius distance between the student's and the teacher's Gram matrices of modality features.

    With F_i the (2, D) matrix of the image and text features of sample i, and the teacher's F'_i (2, E):

        sample:  mean_i   ‖F_i F_iᵀ − F'_i F'_iᵀ‖²        each sample on its own
        batch:   mean_ij  ‖F_i F_jᵀ − F'_i F'_jᵀ‖²        the Gram matrix of all 2B features of the batch

    `sample` looks at the B blocks (2, 2) on the diagonal of the matrix that `batch` compares in full; being
    means over blocks, both keep their size when the batch grows, and agree for a single sample. `batch` is
    four times the mean over the (2B)² entries. The features are taken as they are: for unit rows `sample` is
    2·mean (v·t − V·T)², since all lengths agree. The square is needed: the distance itself has no gradient
    at equality. A Gram matrix does not see rotations, so this loss alone does not bring the student into the
    teacher's space.

    Args:
        student_image: (B, D), any floating dtype.
        student_text: (B, D), row i describes image i.
        teacher_image: (B, E); E may differ from D. Gradients flow into the teacher if it asks.
        teacher_text: (B, E).
        level: `sample` needs memory for B numbers, `batch` for B² three times over.

    Returns:
        Scalar, float32 (float64 if an input is float64). No rows give 0.

    Raises:
        ValueError: for shapes that do not fit or an unknown level.
    """
    products: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "sample": _own_products,
        "batch": _all_products,
    }
    if level not in products:
        raise ValueError(f"level must be 'sample' or 'batch', got {level!r}")
    product = products[level]
    with without_autocast(student_image):
        v, t, V, T = both_sides(student_image, student_text, teacher_image, teacher_text)
        images = mean_over_rows((product(v, v) - product(V, V)).square())
        texts = mean_over_rows((product(t, t) - product(T, T)).square())
        across = mean_over_rows((product(v, t) - product(V, T)).square())
        return images + texts + 2 * across  # the matrix is symmetric: image-text stands in it twice


def _own_products(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum(dim=1)


def _all_products(first: Tensor, second: Tensor) -> Tensor:
    return first @ second.T
