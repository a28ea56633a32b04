"""Gram matrices of modality features against their definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.losses.gram import gram_loss
from compressor.losses.rows import unit_rows
from tests.losses import reference_more as reference
from tests.losses.pair_cases import PairCase, four, pair_cases

few = settings(max_examples=25, deadline=None)
levels = pytest.mark.parametrize("level", ["sample", "batch"])


@few
@given(pair_cases(same_width=False), st.sampled_from(["sample", "batch"]))
def test_gram_is_the_definition(case: PairCase, level: str) -> None:
    value = gram_loss(*case.sides, level=level)  # type: ignore[arg-type]
    assert value.shape == ()
    assert value.item() == pytest.approx(reference.gram(case.arrays, level), rel=1e-9, abs=1e-12)


def test_of_unit_rows_a_samples_matrix_holds_the_cosine_alone() -> None:
    v, t, V, T = map(unit_rows, four(6, 1, 4, 7))
    expected = 2 * ((v * t).sum(1) - (V * T).sum(1)).square().mean()
    torch.testing.assert_close(gram_loss(v, t, V, T), expected)


def test_the_batchs_matrix_is_that_of_all_features_and_counts_four_times_the_mean_entry() -> None:
    v, t, V, T = (side.numpy() for side in four(5, 2, 4, 7))
    student, teacher = np.concatenate([v, t]), np.concatenate([V, T])
    expected = 4 * np.mean((student @ student.T - teacher @ teacher.T) ** 2)
    assert gram_loss(*four(5, 2, 4, 7), level="batch").item() == pytest.approx(expected, rel=1e-12)


@levels
def test_a_rotated_teacher_is_a_perfect_student(level: str) -> None:
    _, _, V, T = four(6, 3, dim=5, wide=5)
    rotation = torch.linalg.qr(four(5, 4, 5, 5)[0]).Q
    assert gram_loss(V @ rotation, T @ rotation, V, T, level).item() < 1e-20  # type: ignore[arg-type]
    assert gram_loss(2 * V @ rotation, T @ rotation, V, T, level).item() > 1e-3  # type: ignore[arg-type]


@levels
def test_a_repeated_batch_keeps_its_value(level: str) -> None:
    sides = four(4, 5, 3, 6)
    twice = gram_loss(*(side.repeat(2, 1) for side in sides), level=level)  # type: ignore[arg-type]
    torch.testing.assert_close(twice, gram_loss(*sides, level=level))  # type: ignore[arg-type]


def test_only_the_batch_level_sees_relations_between_samples() -> None:
    v, t, V, T = four(4, 6)
    turned = torch.linalg.qr(four(4, 7)[0]).Q
    v, t = V.clone(), T.clone()
    v[0], t[0] = v[0] @ turned, t[0] @ turned
    assert gram_loss(v, t, V, T).item() < 1e-20
    assert gram_loss(v, t, V, T, "batch").item() > 1e-3


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="level"):
        gram_loss(*four(2, 8), level="token")  # type: ignore[arg-type]
