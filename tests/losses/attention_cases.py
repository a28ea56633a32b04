"""Random attention maps for the losses on them, and what their tests share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from compressor.losses.amad import Variant
from compressor.losses.attention_maps import attention_mask

VARIANTS: tuple[Variant, ...] = get_args(Variant)
SQUARED: tuple[Variant, ...] = ("mse", "student_to_teacher")
DIVERGENCES: tuple[Variant, ...] = ("kl", "token")

every_variant = pytest.mark.parametrize("variant", VARIANTS)


def attention(
    batch: int, heads: int, queries: int, keys: int, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Softmax maps whose heads differ in how concentrated they are."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, heads, queries, keys, generator=generator, dtype=torch.float64)
    return (logits * torch.linspace(0.5, 2.5, heads)[:, None, None]).softmax(dim=-1).to(dtype)


def counted_of(mask: Tensor | None, maps: Tensor) -> np.ndarray:
    shape = (len(maps), *maps.shape[2:])
    return np.ones(shape, bool) if mask is None else mask.expand(shape).numpy()


def gradient(loss: Callable[[Tensor], Tensor], maps: Tensor) -> Tensor:
    leaf = maps.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(leaf), leaf)[0]


@dataclass(frozen=True)
class Case:
    teacher: Tensor
    student: Tensor
    mask: Tensor | None


@st.composite
def cases(draw: st.DrawFn) -> Case:
    batch, queries, keys = draw(st.integers(0, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 5))
    seed = draw(st.integers(0, 2**20))
    student_heads = draw(st.integers(1, 4))
    teacher_heads = draw(st.integers(student_heads, 5))
    teacher = attention(batch, teacher_heads, queries, keys, seed)
    student = attention(batch, student_heads, queries, keys, seed + 1)
    generator = torch.Generator().manual_seed(seed + 2)
    if draw(st.booleans()):  # rows that do not sum to 1, as after dropout, some of them zero, and whole maps
        for maps in (teacher, student):
            maps *= torch.rand(maps.shape, generator=generator) < 0.7
            maps *= torch.rand(*maps.shape[:2], 1, 1, generator=generator) < 0.8
    kind = draw(st.sampled_from(["none", "tokens", "entries"]))
    mask = None
    if kind == "tokens":
        mask = attention_mask(
            torch.rand(batch, queries, generator=generator) < 0.7,
            torch.rand(batch, keys, generator=generator) < 0.7,
        )
    elif kind == "entries":
        mask = torch.rand(batch, queries, keys, generator=generator) < 0.6
    return Case(teacher, student, mask)
