"""Length, views and learning rate of a training."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.distill.schedule import learning_rate_factor, total_steps, training_epochs, training_views
from compressor.errors import DataError
from compressor.recipe.training import Augmentation, FineTune


def test_epochs_count_full_batches_only() -> None:
    assert total_steps(FineTune(epochs=3, batch_size=10), rows=29) == 6


def test_steps_given_directly_win_and_may_end_inside_an_epoch() -> None:
    section = FineTune(steps=7, batch_size=10)
    assert total_steps(section, rows=29) == 7
    assert training_epochs(section, rows=29) == 4


def test_too_few_rows_for_a_batch_are_refused_in_one_sentence() -> None:
    with pytest.raises(DataError, match="9 usable images, fewer than one batch of 10"):
        total_steps(FineTune(epochs=1, batch_size=10), rows=9)


@pytest.mark.parametrize(
    ("augmentation", "views"),
    [
        (Augmentation(), [0]),
        (Augmentation(horizontal_flip=0.5), [0, 1, 2, 3]),
        (Augmentation(horizontal_flip=0.5, views=3), [0, 1, 2]),
        (Augmentation(horizontal_flip=0.5, views=9), [0, 1, 2, 3]),
        (Augmentation(views=3), [0]),
    ],
)
def test_the_views_to_store_are_those_that_training_shows(
    augmentation: Augmentation, views: list[int]
) -> None:
    assert training_views(FineTune(steps=7, batch_size=10, augmentation=augmentation), rows=29) == views


@settings(max_examples=25, deadline=None)
@given(total=st.integers(1, 400), warmup=st.floats(0, 0.9))
def test_the_rate_rises_then_falls_and_never_stands_still(total: int, warmup: float) -> None:
    factors = [learning_rate_factor(step, total, warmup) for step in range(total)]
    rising = round(warmup * total)
    assert all(0 < factor <= 1 for factor in factors)
    assert all(a < b for a, b in pairwise(factors[:rising]))
    assert all(a > b for a, b in pairwise(factors[rising:]))
    if rising < total:
        assert factors[rising] == 1.0


def test_the_rate_follows_the_cosine_of_its_definition() -> None:
    assert learning_rate_factor(4, 10, 0.2) == pytest.approx(0.5 * (1 + math.cos(math.pi * 2 / 8)))
    assert learning_rate_factor(0, 10, 0.2) == pytest.approx(0.5)
