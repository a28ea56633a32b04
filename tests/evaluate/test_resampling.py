"""Intervals of figures that are functions of sums over units."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.evaluate.resampling import mean_of_units, resampled_interval


def loop_interval(statistics: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    """Draw units one by one, sum their rows, divide the first column by the second."""
    generator = np.random.default_rng(seed)
    values = []
    for start in range(0, resamples, 64):
        for picks in generator.integers(
            0, len(statistics), size=(min(64, resamples - start), len(statistics))
        ):
            first = second = 0.0
            for pick in picks:
                first += statistics[pick][0]
                second += statistics[pick][1]
            values.append(first / second)
    values.sort()
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def test_a_resample_is_a_sum_of_drawn_units() -> None:
    statistics = np.random.default_rng(3).uniform(1, 2, size=(7, 2))
    interval = resampled_interval(statistics, mean_of_units, resamples=150, seed=5)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx(loop_interval(statistics, 150, 5), abs=1e-12)


def test_the_spread_is_that_of_a_mean() -> None:
    scores = np.random.default_rng(0).normal(50, 10, size=400)
    interval = resampled_interval(np.stack([scores, np.ones(400)], axis=1), mean_of_units, 2000, 1)
    assert interval is not None
    half = 1.96 * scores.std() / 20
    assert interval.low == pytest.approx(scores.mean() - half, abs=0.15)
    assert interval.high == pytest.approx(scores.mean() + half, abs=0.15)


def test_there_is_no_interval_without_resamples_units_or_values() -> None:
    ones = np.ones((3, 2))
    assert resampled_interval(ones, mean_of_units, 0) is None
    assert resampled_interval(np.zeros((0, 2)), mean_of_units, 10) is None
    assert resampled_interval(np.zeros((3, 2)), mean_of_units, 10) is None
