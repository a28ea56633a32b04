"""Gradient distillation: the closed form against autograd, the loss against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compressor.losses.gradient import gradient_loss, summed_clip_gradients
from compressor.losses.rows import unit_rows
from tests.losses.pair_cases import PairCase, four, pair_cases

few = settings(max_examples=25, deadline=None)
temperatures = st.floats(0.05, 2.0)


def clip_gradients(
    image: Tensor, text: Tensor, temperature: float, mask: Tensor | None, reduction: str
) -> tuple[Tensor, ...]:
    """By autograd, of the contrastive loss written as its authors do, at the unit rows."""
    image, text = (unit_rows(side).detach().requires_grad_() for side in (image, text))
    logits = image @ text.T / temperature
    if mask is not None:
        logits = logits - torch.where(mask & ~torch.eye(len(mask), dtype=torch.bool), 1e9, 0.0)
    labels = torch.arange(len(image))
    losses = [F.cross_entropy(each, labels, reduction=reduction) for each in (logits, logits.T)]
    return torch.autograd.grad(sum(losses) / 2, (image, text))


@few
@given(pair_cases(), temperatures, st.booleans())
def test_the_closed_form_is_the_gradient(case: PairCase, temperature: float, masked: bool) -> None:
    v, t, _, _ = case.sides
    mask = case.mask if masked else None
    hidden = None if mask is None else mask & ~torch.eye(len(mask), dtype=torch.bool)
    actual = summed_clip_gradients(unit_rows(v), unit_rows(t), temperature, hidden)
    for one, other in zip(actual, clip_gradients(v, t, temperature, mask, "sum"), strict=True):
        torch.testing.assert_close(one, other)


@few
@given(pair_cases(), temperatures, temperatures, st.booleans(), st.sampled_from(["mean", "sum"]))
def test_the_loss_is_the_squared_error_of_the_gradients(
    case: PairCase, temperature: float, own: float, masked: bool, reduction: str
) -> None:
    v, t, V, T = case.sides
    mask = case.mask if masked else None
    student = [each.numpy() for each in clip_gradients(v, t, temperature, mask, reduction)]
    teacher = [each.numpy() for each in clip_gradients(V, T, own, mask, reduction)]
    expected = 0.0
    for one, other in zip(student, teacher, strict=True):
        errors = [(one[i, d] - other[i, d]) ** 2 for i, d in np.ndindex(one.shape)]
        expected += sum(errors) / len(errors)
    value = gradient_loss(v, t, V, T, temperature, own, mask, reduction)  # type: ignore[arg-type]
    assert value.item() == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_gradients_with_a_mask_equal_finite_differences() -> None:
    sides = [side.requires_grad_() for side in four(4, 1)]
    mask = torch.tensor([[True] * 4, [True, False, False, True], [False] * 4, [False, True, True, True]])
    assert torch.autograd.gradcheck(lambda *four: gradient_loss(*four, 0.5, 0.3, mask, "sum"), sides)


def test_the_sum_over_the_batch_is_the_mean_times_the_batch_squared() -> None:
    sides = four(7, 2)
    torch.testing.assert_close(gradient_loss(*sides, reduction="sum"), 49 * gradient_loss(*sides))


def test_a_batch_repeated_without_negatives_between_copies_keeps_the_value_of_the_sum() -> None:
    sides = four(4, 3)
    apart = ~torch.block_diag(torch.ones(4, 4), torch.ones(4, 4)).bool()
    twice = gradient_loss(*(side.repeat(2, 1) for side in sides), mask=apart, reduction="sum")
    torch.testing.assert_close(twice, gradient_loss(*sides, reduction="sum"))


def test_length_of_the_rows_does_not_matter() -> None:
    v, t, V, T = four(5, 4)
    torch.testing.assert_close(gradient_loss(7 * v, t, V, 0.01 * T), gradient_loss(v, t, V, T))


def test_unknown_reductions_misshapen_masks_and_temperatures_are_refused() -> None:
    sides = four(3, 5)
    with pytest.raises(ValueError, match="reduction"):
        gradient_loss(*sides, reduction="max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mask"):
        gradient_loss(*sides, mask=torch.zeros(2, 3, dtype=torch.bool))
    for own in (0.0, float("nan")):
        with pytest.raises(ValueError, match="temperature"):
            gradient_loss(*sides, 0.1, own)
