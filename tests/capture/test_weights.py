"""The map against its definition, its gradient against finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compressor.capture.weights import attention_weights


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reference(query: Tensor, key: Tensor, added: np.ndarray, scale: float) -> np.ndarray:
    """softmax(q k * scale + added), one number at a time."""
    batch, heads, rows, depth = query.shape
    columns = key.shape[2]
    result = np.zeros((batch, heads, rows, columns))
    for b in range(batch):
        for h in range(heads):
            for i in range(rows):
                scores = []
                for j in range(columns):
                    product = sum(float(query[b, h, i, c]) * float(key[b, h, j, c]) for c in range(depth))
                    scores.append(product * scale + added[b, h, i, j])
                exponents = [math.exp(score - max(scores)) for score in scores]
                result[b, h, i] = [value / sum(exponents) for value in exponents]
    return result


SIZES = st.tuples(*[st.integers(1, 4)] * 5)


@given(SIZES, st.integers(0, 99))
def test_it_is_the_softmax_of_the_scaled_products(sizes: tuple[int, ...], seed: int) -> None:
    batch, heads, rows, columns, depth = sizes
    query = normal(batch, heads, rows, depth, seed=seed)
    key = normal(batch, heads, columns, depth, seed=seed + 1)
    bias = normal(1, heads, rows, columns, seed=seed + 2)
    expected = reference(query, key, bias.expand(batch, -1, -1, -1).numpy(), 0.7)
    actual = attention_weights(query, key, mask=bias, scale=0.7)
    np.testing.assert_allclose(actual.numpy(), expected, atol=1e-12)
    plain = reference(query, key, np.zeros_like(expected), depth**-0.5)
    np.testing.assert_allclose(attention_weights(query, key).numpy(), plain, atol=1e-12)


@pytest.mark.parametrize("added", [False, True], ids=["bool mask", "added mask"])
def test_masked_keys_get_exactly_nothing(added: bool) -> None:
    query, key = normal(2, 3, 4, 5), normal(2, 3, 6, 5, seed=1)
    mask = torch.ones(2, 1, 1, 6, dtype=torch.bool)
    mask[0, ..., 4:] = False
    given_mask = torch.zeros(mask.shape).masked_fill(~mask, float("-inf")) if added else mask
    weights = attention_weights(query, key, mask=given_mask)
    infinite = np.where(mask.expand(2, 3, 4, 6).numpy(), 0.0, -np.inf)
    np.testing.assert_allclose(weights.numpy(), reference(query, key, infinite, 5**-0.5), atol=1e-12)
    assert not weights[0, ..., 4:].any()


def test_causal_rows_see_no_later_key() -> None:
    query, key = normal(1, 2, 4, 3), normal(1, 2, 4, 3, seed=1)
    weights = attention_weights(query, key, is_causal=True)
    assert not weights.triu(1).any()
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2, 4, dtype=torch.float64))
    assert torch.equal(weights[..., 0, 0], torch.ones(1, 2, dtype=torch.float64))


@pytest.mark.parametrize("added", [False, True], ids=["bool mask", "added mask"])
def test_a_row_that_may_attend_to_nothing_is_finite_and_so_are_its_gradients(added: bool) -> None:
    query, key = normal(1, 1, 2, 3).float().requires_grad_(), normal(1, 1, 4, 3, seed=1).float()
    mask = torch.zeros(1, 1, 2, 4, dtype=torch.bool)
    weights = attention_weights(query, key, mask=torch.full(mask.shape, float("-inf")) if added else mask)
    (weights * torch.arange(4)).sum().backward()
    assert weights.isfinite().all()
    assert query.grad is not None
    assert query.grad.isfinite().all()


def test_gradients_are_those_of_finite_differences() -> None:
    query, key = normal(2, 2, 3, 2).requires_grad_(), normal(2, 2, 3, 2, seed=1).requires_grad_()
    bias = normal(1, 2, 3, 3, seed=2).requires_grad_()
    mask = torch.tensor([[True, True, False], [True, True, True]])[:, None, None, :]
    assert torch.autograd.gradcheck(lambda q, k, b: attention_weights(q, k, mask=b), (query, key, bias))
    assert torch.autograd.gradcheck(lambda q, k: attention_weights(q, k, mask=mask), (query, key))


def test_half_precision_inputs_under_autocast_give_an_exact_map_in_fp32() -> None:
    query, key = normal(1, 2, 9, 4).bfloat16(), normal(1, 2, 9, 4, seed=1).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weights = attention_weights(query, key)
    assert weights.dtype == torch.float32
    exact = attention_weights(query.double(), key.double())
    torch.testing.assert_close(weights.double(), exact, atol=1e-6, rtol=0)
