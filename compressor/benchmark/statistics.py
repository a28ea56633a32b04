"""Percentiles of call times, and intervals that respect rounds. Torch-free."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from compressor.report.results import Interval, Timing

RESAMPLES = 1000


def timing(milliseconds: npt.NDArray[np.float64], seed: int = 0) -> Timing:
    """Percentiles (linear interpolation) over all calls of all rounds; `milliseconds` is (rounds, calls)."""
    p50, p90, p95, p99 = (float(value) for value in np.percentile(milliseconds, [50, 90, 95, 99]))
    return Timing(
        p50_ms=p50,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        n=milliseconds.size,
        p50_interval=median_interval(milliseconds, seed),
    )


def median_interval(values: npt.NDArray[np.float64], seed: int = 0) -> Interval:
    """95 % percentile bootstrap interval of the median of all values, whole rows (rounds) resampled
    together."""
    generator = np.random.default_rng(seed)
    rounds = len(values)
    picks = generator.integers(0, rounds, size=(RESAMPLES, rounds))
    medians = [float(np.median(values[pick])) for pick in picks]
    low, high = np.percentile(medians, [2.5, 97.5])
    return Interval(low=float(low), high=float(high))
