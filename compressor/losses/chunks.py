"""A loss that adds up over samples, its gradient formed on the way: memory for a few samples, not for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

Formula = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Teacher (b, Ht, Q, K), student (b, Hs, Q, K), mask (b, 1, Q, K) or None -> sum over these samples."""

CPU_CHUNK = 2**19
"""Elements of the larger side in a chunk on a CPU: 2 MiB, so that intermediates stay in its cache."""
ACCELERATOR_CHUNK = 2**24
"""Elsewhere: 64 MiB, enough to keep a GPU busy."""


def summed_over_samples(formula: Formula, teacher: Tensor, student: Tensor, mask: Tensor | None) -> Tensor:
    """Sum of the formula over all samples, computed for a few of them at a time.

    Each chunk's gradient is taken as soon as its value is known and its intermediates are dropped: what
    remains until the backward pass is one tensor of the size of each input that asks for a gradient.
    A backward pass with `create_graph` is refused, for what it would have to differentiate is gone.

    Args:
        formula: gets chunks in full precision.
        teacher: (B, Ht, Q, K), any floating dtype.
        student: (B, Hs, Q, K), any floating dtype.
        mask: (B, 1, Q, K) or None; handed on in chunks.

    Returns:
        Scalar, float32, or float64 if an input is float64.
    """
    wanted = [torch.is_grad_enabled() and tensor.requires_grad for tensor in (teacher, student)]
    return _SummedOverSamples.apply(teacher, student, mask, formula, wanted)


def _chunks(teacher: Tensor, student: Tensor) -> Iterator[slice]:
    """Slices of the batch, each of at least one sample."""
    limit = CPU_CHUNK if student.device.type == "cpu" else ACCELERATOR_CHUNK
    size = max(1, limit // max(teacher[:1].numel(), student[:1].numel(), 1))
    return (slice(start, start + size) for start in range(0, len(student), size))


class _SummedOverSamples(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        teacher: Tensor,
        student: Tensor,
        mask: Tensor | None,
        formula: Formula,
        wanted: list[bool],
    ) -> Tensor:
        sides = (teacher, student)
        dtype = torch.float64 if any(side.dtype == torch.float64 for side in sides) else torch.float32
        total = torch.zeros((), dtype=dtype, device=student.device)
        gradients = [
            torch.empty_like(side, dtype=dtype) if want else None
            for side, want in zip(sides, wanted, strict=True)
        ]
        for chunk in _chunks(teacher, student):
            first, second = (
                side[chunk].detach().to(dtype).requires_grad_(want)
                for side, want in zip(sides, wanted, strict=True)
            )
            with torch.set_grad_enabled(any(wanted)):
                value = formula(first, second, None if mask is None else mask[chunk])
            total += value.detach()
            if any(wanted):
                value.backward()
            for part, gradient in zip((first, second), gradients, strict=True):
                if gradient is not None and part.grad is not None:
                    gradient[chunk] = part.grad
        ctx.save_for_backward(*gradients)
        ctx.dtypes = [side.dtype for side in sides]
        return total

    @staticmethod
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("this loss has no gradients of gradients: call it without create_graph")
        # Scaled before it is rounded to the inputs' dtype: a mean over ten million elements leaves nothing in
        # float16 that the caller's loss scaling could bring back.
        teacher, student = (
            None if gradient is None else (gradient * factor).to(dtype)
            for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        )
        return teacher, student, None, None, None
