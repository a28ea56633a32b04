"""Softened cross-entropy between teacher and student logits (arXiv 1503.02531; No Head Left Behind)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from compressor.losses.pairs import check_temperature
from compressor.losses.rows import full_precision, mean_over_rows, without_autocast

BLOCK_ELEMENTS = 2**20
"""Logits of each side that are worked on at a time: 4 MiB in float32."""


def logit_loss(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0, mask: Tensor | None = None
) -> Tensor:
    """Mean over rows of −Σ softmax(z_T / τ) · log softmax(z_S / τ), times τ².

    A row is one answer or one position of a sequence (No Head Left Behind, AAAI 2024, eq. 13-14). The factor
    τ² keeps the size of the gradients when τ changes (arXiv 1503.02531). The value at equality is the
    teacher's entropy times τ², not 0; the gradient is 0 there. Beside the logits themselves and the student's
    gradient, memory does not grow with the number of rows.

    Args:
        student_logits: (..., C), any floating dtype, finite; of a sequence (B, L, C).
        teacher_logits: (..., C), a constant: no gradient flows into it. For sequences computed on the same
            ground-truth tokens.
        temperature: τ, above 0.
        mask: bool (...), true where a row counts; padded positions are false and never looked at.

    Returns:
        Scalar, float32 (float64 if an input is float64). No rows, or none that counts, give 0.

    Raises:
        ValueError: for shapes that do not fit, no classes or a temperature that is not positive.
    """
    check_temperature(temperature)
    shape = student_logits.shape
    if shape != teacher_logits.shape or shape[-1:] in ((), (0,)):
        raise ValueError(
            "student and teacher logits must have the same shape (..., C), "
            f"got {tuple(shape)} and {tuple(teacher_logits.shape)}"
        )
    if mask is None:
        mask = torch.ones(shape[:-1], dtype=torch.bool, device=student_logits.device)
    elif mask.shape != shape[:-1]:
        raise ValueError(f"mask must have the shape {tuple(shape[:-1])}, got {tuple(mask.shape)}")
    if mask.ndim == 0:
        student_logits, teacher_logits, mask = student_logits[None], teacher_logits[None], mask[None]
    chosen = mask.to(device=student_logits.device, dtype=torch.bool).nonzero()
    with without_autocast(student_logits):
        entropies = _SoftenedCrossEntropy.apply(student_logits, teacher_logits, chosen, temperature)
        return temperature**2 * mean_over_rows(entropies)


class _SoftenedCrossEntropy(torch.autograd.Function):
    """(n,) cross-entropies of the n chosen rows.

    Autograd's own way keeps tensors of the logits' size and forms more of them: with a vocabulary of 30,000
    that is where a captioner's memory goes. Working through the rows in blocks, and forming both softmaxes
    again for the gradient, keeps none.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, chosen: Tensor, temperature: float) -> Tensor:
        ctx.save_for_backward(student, teacher, chosen)
        ctx.temperature = temperature
        entropies = [
            -(target.softmax(dim=1) * own.log_softmax(dim=1)).sum(dim=1)
            for _, own, target in _blocks(student, teacher, chosen, temperature)
        ]
        return torch.cat(entropies)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        student, teacher, chosen = ctx.saved_tensors
        result = torch.zeros_like(student)
        blocks = _blocks(student, teacher, chosen, ctx.temperature)
        for (index, own, target), weight in zip(blocks, gradient.split(_rows_in_block(student)), strict=True):
            difference = own.softmax(dim=1).sub_(target.softmax(dim=1))
            result[index] = difference.mul_(weight[:, None] / ctx.temperature).to(result.dtype)
        return result, None, None, None


def _blocks(
    student: Tensor, teacher: Tensor, chosen: Tensor, temperature: float
) -> Iterator[tuple[tuple[Tensor, ...], Tensor, Tensor]]:
    """Index of some chosen rows, and both sides' softened logits (rows, C) there, in full precision."""
    for block in chosen.split(_rows_in_block(student)):
        index = block.unbind(dim=1)
        own, target = full_precision(student[index], teacher[index])
        yield index, own.div_(temperature), target.div_(temperature)  # copies, by the indexing


def _rows_in_block(logits: Tensor) -> int:
    return max(BLOCK_ELEMENTS // logits.shape[-1], 1)
