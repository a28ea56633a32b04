"""What every loss does before its formula: full precision, unit rows, means that survive an empty batch."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.amp.autocast_mode import is_autocast_available

ZERO_ROW = 1e-12
"""A row whose largest magnitude is not above this counts as the zero vector."""


def without_autocast(tensor: Tensor) -> AbstractContextManager[None]:
    """Context in which autocast is off on the tensor's device: a matmul keeps its operands' precision."""
    device = tensor.device.type
    return torch.autocast(device, enabled=False) if is_autocast_available(device) else nullcontext()


def full_precision(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in one dtype: float64 if any of them is float64, float32 otherwise."""
    dtype = torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32
    return tuple(tensor.to(dtype) for tensor in tensors)


def paired(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both tensors in one dtype of full precision.

    Raises:
        ValueError: if they are not two (B, D) tensors of the same shape.
    """
    if student.ndim != 2 or student.shape != teacher.shape:
        raise ValueError(
            "the two sets of rows must have the same shape (B, D), "
            f"got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    first, second = full_precision(student, teacher)
    return first, second


def unit_rows(rows: Tensor) -> Tensor:
    """(N, D) -> (N, D) with rows of Euclidean length 1; the zero vector stays zero, with a finite gradient.

    Rows are first divided by their largest magnitude, which the gradient may ignore because the result does
    not depend on it: neither huge nor tiny rows overflow or vanish when they are squared.
    """
    if rows.shape[1] == 0:
        return rows
    largest = rows.detach().abs().amax(dim=1, keepdim=True)
    present = ~(largest <= ZERO_ROW)  # true for NaN, which must stay visible
    scaled = rows / torch.where(present, largest, torch.ones_like(largest))
    squared = scaled.square().sum(dim=1, keepdim=True)
    return scaled * torch.where(present, squared, torch.ones_like(squared)).rsqrt()


def mean_over_rows(values: Tensor) -> Tensor:
    """Mean of all elements; for none a zero that is still part of the graph, where `mean` gives NaN."""
    return values.sum() / max(values.numel(), 1)
