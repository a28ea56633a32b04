"""The interval of a difference over several trainings."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.errors import DataError
from compressor.evaluate.bootstrap import difference_interval, difference_over_seeds_interval
from compressor.evaluate.retrieval import Ranks
from tests.evaluate.test_bootstrap import noisy, reference_rsums


def width(first: list[Ranks], second: list[Ranks]) -> float:
    found = difference_over_seeds_interval(first, second, 400)
    assert found is not None
    return found.high - found.low


def test_it_equals_the_definition_with_loops() -> None:
    first = [noisy(0.7, seed) for seed in (1, 2, 3)]
    second = [noisy(0.9, seed) for seed in (4, 5, 6)]
    resamples, seed, draws = 90, 8, 64
    drawn = reference_rsums([*first, *second], resamples, seed)
    differences = [one.rsum - other.rsum for one, other in zip(first, second, strict=True)]
    mean = sum(differences) / 3
    deviation = (sum((value - mean) ** 2 for value in differences) / 2) ** 0.5
    generator = np.random.default_rng([seed, 3])
    sample = []
    for start in (0, 64):  # resamples are drawn so many at a time
        rows = drawn[start : start + 64]
        for row, student in zip(rows, generator.standard_t(2, size=(len(rows), draws)), strict=True):
            centre = sum(row[:3]) / 3 - sum(row[3:]) / 3
            sample += [centre + deviation / 3**0.5 * value for value in student]
    found = difference_over_seeds_interval(first, second, resamples, seed)
    assert found is not None
    assert [found.low, found.high] == pytest.approx(np.percentile(sample, [2.5, 97.5]), rel=1e-9)


def test_one_training_leaves_the_images_alone() -> None:
    first, second = noisy(0.7, 1), noisy(0.9, 2)
    assert difference_over_seeds_interval([first], [second], 200, 3) == difference_interval(
        first, second, 200, 3
    )


def test_trainings_that_agree_leave_the_images_alone() -> None:
    first, second = noisy(0.7, 1), noisy(0.9, 2)
    together = difference_over_seeds_interval([first] * 3, [second] * 3, 200)
    alone = difference_interval(first, second, 200)
    assert together is not None
    assert alone is not None
    assert [together.low, together.high] == pytest.approx([alone.low, alone.high])


def test_trainings_that_disagree_widen_it_and_more_of_them_narrow_it() -> None:
    steady = [noisy(0.8, seed) for seed in (1, 1, 1)]
    shaky = [noisy(0.6, 1), noisy(0.8, 1), noisy(1.0, 1)]
    base = [noisy(0.8, seed) for seed in (7, 7, 7)]
    assert width(shaky, base) > 2 * width(steady, base)
    assert width(shaky * 3, base * 3) < width(shaky, base) / 2
    assert width(shaky[::2], base[:2]) > width(shaky, base), "two trainings know little of their spread"


def test_no_resamples_and_other_pairs() -> None:
    ranks = [noisy(0.8)] * 2
    assert difference_over_seeds_interval(ranks, ranks, 0) is None
    with pytest.raises(DataError, match="same images"):
        difference_over_seeds_interval(ranks, [noisy(0.8, images=50)] * 2, 10)
    with pytest.raises(ValueError, match="shorter"):
        difference_over_seeds_interval(ranks, ranks[:1], 10)
