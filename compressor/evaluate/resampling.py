"""Bootstrap intervals of figures that are functions of sums over units, such as images. Torch-free.

A unit is resampled with everything that hangs on it (an image with its captions or questions), because what
hangs on one image succeeds and fails together. Percentile intervals, 95 % (Efron and Tibshirani 1993,
chapter 13).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from compressor.report.results import Interval

Floats = npt.NDArray[np.float64]
_AT_ONCE = 64


def resampled_interval(
    statistics: Floats, figure: Callable[[Floats], Floats], resamples: int = 1000, seed: int = 0
) -> Interval | None:
    """95 % interval of `figure` over resamples of the rows of `statistics` (units, S).

    `figure` takes sums of rows (R, S) and gives R values. To compare two models on the same resamples, put
    their statistics side by side in one row a unit. None for 0 resamples, and where a resample has no value.
    """
    if resamples <= 0 or not len(statistics):
        return None
    generator = np.random.default_rng(seed)
    values = []
    for start in range(0, resamples, _AT_ONCE):
        drawn = _draw(generator, min(_AT_ONCE, resamples - start), len(statistics))
        values.append(figure(drawn @ statistics))
    sample = np.concatenate(values)
    if not np.isfinite(sample).all():
        return None
    low, high = np.percentile(sample, [2.5, 97.5])
    return Interval(low=float(low), high=float(high))


def mean_of_units(sums: Floats) -> Floats:
    """The figure "first column divided by second": a mean where the second column counts."""
    return np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan, np.float64), where=sums[:, 1] > 0)


def _draw(generator: np.random.Generator, resamples: int, units: int) -> Floats:
    """How often each unit was drawn, with replacement: (resamples, units)."""
    picks = generator.integers(0, units, size=(resamples, units)) + units * np.arange(resamples)[:, None]
    counts = np.bincount(picks.ravel(), minlength=resamples * units)
    return counts.reshape(resamples, units).astype(np.float64)
