"""The student's samples shall lie as far from each other as the teacher's (RKD-D, arXiv 1904.05068)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from compressor.losses.rows import full_precision, without_autocast


def rkd_distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss between the pairwise distances of student and teacher, each in units of its own mean.

    With d_ij = ‖s_i − s_j‖ / μ_S, e_ij = ‖T_i − T_j‖ / μ_T, μ the mean of the distances above 0, and Huber's
    loss h with δ = 1:

        mean_{i≠j} h(d_ij − e_ij)

    Rotating, shifting or scaling either side changes nothing. The mean runs over the B·(B − 1) pairs of
    distinct samples, the paper's X²; the authors' code also counts the B zeros of the diagonal, so its value
    is (B − 1) / B of this one. The rows are taken as they are.

    Args:
        student: (B, D), any floating dtype.
        teacher: (B, E); E may differ from D. Gradients flow into it if it asks.

    Returns:
        Scalar, float32 (float64 if an input is float64). One row or none gives 0. Samples at the same place
        have the distance 0 and pull with a gradient of 0.

    Raises:
        ValueError: if they are not two matrices with the same number of rows.
    """
    if student.ndim != 2 or teacher.ndim != 2 or len(student) != len(teacher):
        raise ValueError(
            "student (B, D) and teacher (B, E) must have the same number of rows, "
            f"got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    with without_autocast(student):
        student, teacher = full_precision(student, teacher)
        if len(student) < 2:
            return 0 * (student.sum() + teacher.sum())
        return F.smooth_l1_loss(relative_distances(student), relative_distances(teacher))


def relative_distances(rows: Tensor) -> Tensor:
    """Distances of all pairs of (B, D) rows over the mean of those above 0; zeros where no two rows differ.

    (B·(B − 1) / 2,) in the order (0, 1), (0, 2), …, (1, 2), …, each pair of distinct rows once.
    """
    largest = rows.detach().abs().amax()  # the result does not depend on it, and squares stay in range
    distances = _PairDistances.apply(rows / torch.where(largest == 0, 1, largest))
    mean = distances.sum() / (distances > 0).sum().clamp(min=1)
    return distances / torch.where(mean == 0, 1, mean)


class _PairDistances(torch.autograd.Function):
    """`torch.pdist`, exactly 0 between equal rows, where the gradient is 0 too.

    It sums squared differences: ‖a‖² + ‖b‖² − 2a·b leaves distances of 1e-4 between equal rows in float32,
    and a batch with several captions of an image has equal rows. The gradient is written out as a product
    of matrices because pdist's own needs memory for B·B·D numbers on a GPU.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        distances = torch.pdist(rows)
        ctx.save_for_backward(rows, distances)
        return distances

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """With w_ij = gradient_ij / d_ij, row i gets sum_j w_ij · (r_i − r_j)."""
        rows, distances = ctx.saved_tensors
        size = len(rows)
        first, second = torch.triu_indices(size, size, offset=1, device=rows.device)
        weights = rows.new_zeros(size, size)
        weights[first, second] = torch.where(distances == 0, 0, gradient / distances)
        weights = weights + weights.T
        with without_autocast(rows):
            return weights.sum(dim=1, keepdim=True) * rows - weights @ rows
