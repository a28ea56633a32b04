"""The two distances of AMAD: squared error and divergence after the heads have been aligned and mixed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from compressor.losses.attention_maps import inverse, inverse_root, only_counted

EPSILON = 1e-7
"""Added to both distributions before their logarithms, as published."""


def aligned_squared_error(target: Tensor, pool: Tensor, temperature: float) -> Tensor:
    """Sum over samples, target heads and entries of (t − p̂)², all maps scaled to Euclidean length 1.

    p̂ mixes the pool's heads with the weights softmax(cosine / temperature) and has length 1 again. Nothing as
    large as a map is formed: with a the weights for one target head, c its cosines to the pool's heads and G
    the cosines between those,

        ‖t − p̂‖² = ‖t‖² + ‖p̂‖² − 2 (a·c) / √(aᵀ G a),     ‖t‖² and ‖p̂‖² being 1, or 0 for a map of zeros.

    Args:
        target: (B, Ht, Q, K), full precision.
        pool: (B, Hp, Q, K), the heads that are mixed.
        temperature: of the softmax over the pool's heads.
    """
    target, pool = target.flatten(2), pool.flatten(2)
    between, within = _HeadProducts.apply(target, pool)
    target_scale = inverse(torch.linalg.vector_norm(target, dim=-1, keepdim=True))  # (B, Ht, 1)
    pool_scale = inverse_root(within.diagonal(dim1=-2, dim2=-1))[:, None, :]  # (B, 1, Hp)
    cosines = between * target_scale * pool_scale
    weights = (cosines / temperature).softmax(dim=-1)
    mixed_scale = inverse_root(((weights @ (within * pool_scale * pool_scale.mT)) * weights).sum(dim=-1))
    cosine = (weights * cosines).sum(dim=-1) * mixed_scale
    lengths = (target_scale.squeeze(-1) > 0).to(cosine.dtype) + (mixed_scale > 0).to(cosine.dtype)
    return (lengths - 2 * cosine).clamp(min=0).sum()  # rounding may lift a cosine above 1


class _HeadProducts(torch.autograd.Function):
    """target · poolᵀ and pool · poolᵀ of (B, H, n) maps; the pool's gradient is formed in one buffer."""

    @staticmethod
    def forward(ctx: Any, target: Tensor, pool: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(target, pool)
        return target @ pool.mT, pool @ pool.mT

    @staticmethod
    def backward(ctx: Any, between: Tensor, within: Tensor) -> tuple[Tensor | None, Tensor | None]:
        target, pool = ctx.saved_tensors
        for_target = for_pool = None
        if ctx.needs_input_grad[0]:
            for_target = between @ pool
        if ctx.needs_input_grad[1]:
            for_pool = ((within + within.mT) @ pool).baddbmm_(between.mT, target)
        return for_target, for_pool


def aligned_divergence(
    teacher: Tensor, student: Tensor, counted: Tensor | None, *, temperature: float, by_query: bool
) -> Tensor:
    """Sum over all entries of (t + ε)·(log(t + ε) − log(ŝ + ε)), where rows of t and the mixed ŝ sum to 1.

    Args:
        teacher: (B, Ht, Q, K), full precision, nothing negative.
        student: (B, Hs, Q, K), likewise.
        counted: bool (B, 1, Q, K) or None; an entry that does not count is 0 in t and ŝ, and so in the sum.
        temperature: of the softmax over the student's heads.
        by_query: align every query row for itself (`token`), not the heads as a whole (`kl`).
    """
    keys = teacher.shape[-1]
    teacher, student = only_counted(teacher, counted), only_counted(student, counted)
    target = (teacher * inverse(teacher.sum(dim=-1, keepdim=True))).add_(EPSILON)
    if by_query:  # each of the B·Q rows becomes a map of its own
        teacher, student, target = (x.transpose(1, 2).flatten(0, 1) for x in (teacher, student, target))
    else:
        teacher, student, target = (x.flatten(2) for x in (teacher, student, target))
    weights, student_scale = head_weights(teacher, student, temperature)
    return _MixedDivergence.apply(target, weights * student_scale, student, keys)


def head_weights(teacher: Tensor, student: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Weight of each student head for each teacher head, by the dot product of maps scaled to sum 1.

    Args:
        teacher: (B, Ht, n), nothing negative.
        student: (B, Hs, n), likewise.
        temperature: of the softmax over the student's heads.

    Returns:
        The weights (B, Ht, Hs), and 1 / sum of each student map as (B, 1, Hs).
    """
    teacher_scale = inverse(teacher.sum(dim=-1, keepdim=True))
    student_scale = inverse(student.sum(dim=-1))[:, None, :]
    similarity = (teacher @ student.mT) * teacher_scale * student_scale
    return (similarity / temperature).softmax(dim=-1), student_scale


class _MixedDivergence(torch.autograd.Function):
    """Divergence of target rows (ε included) from rows that are mixed out of maps and scaled to sum 1.

    With P = weights · maps, p̂ = P / (sum of its row) and ρ = target / (p̂ + ε), the value is Σ target · log ρ
    and its gradient to P is (Σ_row ρ p̂ − ρ) / (sum of its row), where ρ p̂ = target − ε ρ. So one logarithm
    serves both distributions, and P, p̂, ρ and the gradient take turns in one buffer.
    """

    @staticmethod
    def forward(ctx: Any, target: Tensor, weights: Tensor, maps: Tensor, keys: int) -> Tensor:
        mixed = weights @ maps
        rows = mixed.unflatten(-1, (-1, keys))
        target = target.reshape(rows.shape)
        scale = inverse(rows.sum(dim=-1, keepdim=True))
        ratio = torch.div(target, rows.mul_(scale).add_(EPSILON), out=rows)
        logarithm = ratio.log()
        value = torch.dot(target.flatten(), logarithm.flatten())
        overlap = target.sum(dim=-1, keepdim=True).sub_(ratio.sum(dim=-1, keepdim=True), alpha=EPSILON)
        ratio.sub_(overlap).mul_(-scale)
        ctx.save_for_backward(mixed, weights, maps, logarithm if ctx.needs_input_grad[0] else None)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        for_mixed, weights, maps, logarithm = ctx.saved_tensors
        for_target = None if logarithm is None else (logarithm + 1).mul_(gradient).flatten(2)
        for_weights = (for_mixed @ maps.mT).mul_(gradient)
        return for_target, for_weights, (weights.mT @ for_mixed).mul_(gradient), None
