"""Regression to one unimodal teacher against its definition."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.losses.regression import regression_loss
from tests.losses import reference_more as reference
from tests.losses.pair_cases import PairCase, four, pair_cases

few = settings(max_examples=25, deadline=None)


@few
@given(pair_cases(), st.booleans(), st.booleans())
def test_regression_is_the_definition(case: PairCase, normalize: bool, all_captioned: bool) -> None:
    v, t, z, _ = case.sides
    has_text = None if all_captioned else case.has_text
    value = regression_loss(v, t, z, normalize, has_text)
    expected = reference.regression(
        *(side.numpy() for side in (v, t, z)), normalize, None if has_text is None else has_text.numpy()
    )
    assert value.shape == ()
    assert value.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("normalize", [False, True])
def test_gradients_with_missing_captions_equal_finite_differences(normalize: bool) -> None:
    sides = [side.requires_grad_() for side in four(4, 1)[:3]]
    has_text = torch.tensor([True, False, True, False])
    assert torch.autograd.gradcheck(lambda *three: regression_loss(*three, normalize, has_text), sides)


@pytest.mark.parametrize("normalize", [False, True])
def test_what_stands_where_no_caption_is_changes_nothing(normalize: bool) -> None:
    v, t, z, _ = four(4, 2)
    has_text = torch.tensor([True, False, True, True])
    expected = regression_loss(v, t, z, normalize, has_text)
    t[1] = math.nan
    t.requires_grad_()
    value = regression_loss(v, t, z, normalize, has_text)
    value.backward()
    assert torch.equal(value, expected)
    assert t.grad is not None
    assert (t.grad[1] == 0).all()
    assert (t.grad[has_text] != 0).any(dim=1).all()


@pytest.mark.parametrize("normalize", [False, True])
def test_a_batch_without_captions_scores_half_its_image_side(normalize: bool) -> None:
    v, t, z, _ = four(3, 3)
    t.requires_grad_()
    value = regression_loss(v, t, z, normalize, torch.zeros(3, dtype=torch.bool))
    torch.testing.assert_close(value.detach(), regression_loss(v, v, z, normalize) / 2)
    value.backward()
    assert t.grad is not None
    assert (t.grad == 0).all()


def test_both_sides_at_the_teacher_score_zero_and_lengths_count_unless_normalised() -> None:
    _, _, z, _ = four(5, 4)
    assert regression_loss(z, z, z) == 0
    assert regression_loss(2 * z, z, z) > 0.01
    assert regression_loss(2 * z, z / 3, z, normalize=True).item() < 1e-25


def test_a_mask_of_captions_of_another_length_is_refused() -> None:
    v, t, z, _ = four(3, 5)
    with pytest.raises(ValueError, match="has_text"):
        regression_loss(v, t, z, has_text=torch.ones(4, dtype=torch.bool))
