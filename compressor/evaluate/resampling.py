"""Bootstrap intervals of figures that are functions of sums over units, such as images. Torch-free.

A unit is resampled with everything that hangs on it (an image with its captions or questions), because what
hangs on one image succeeds and fails together. Percentile intervals, 95 % (Efron and Tibshirani 1993,
chapter 13).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compressor.errors import DataError
from compressor.report.results import Interval

Floats = npt.NDArray[np.float64]
_AT_ONCE = 64
_DRAWS = 64
"""Values of Student's t that every resample of the units meets."""


@dataclass(frozen=True, slots=True)
class SummedFigure:
    """A figure as a function of sums over units: what resampling needs of it, whatever it measures.

    `statistics` (units, S) are summed, and `of_sums` makes figures (R,) of R such sums (R, S). `units` tells
    one set of units from another: only figures of the same units, in the same order, can be compared.
    """

    units: str
    statistics: Floats
    of_sums: Callable[[Floats], Floats]

    @property
    def value(self) -> float:
        """The figure of all units, each once."""
        return float(self.of_sums(self.statistics.sum(axis=0, keepdims=True))[0])


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


def difference_over_seeds_interval(
    first: Sequence[SummedFigure], second: Sequence[SummedFigure], resamples: int = 1000, seed: int = 0
) -> Interval | None:
    """95 % interval of the mean over trainings k of first[k] - second[k].

    `first[k]` and `second[k]` were trained with the same seed. Both units and trainings vary: every resample
    of the units, the same for all, gives a mean difference, and to it s / sqrt(n) * t is added, with s the
    sample standard deviation of the n paired differences and t drawn from Student's distribution with n - 1
    degrees of freedom, as in the classical interval of a mean. What units and trainings spread together
    counts in both parts, so that the interval errs on the wide side. One training leaves the units alone.
    None for 0 resamples, and where a resample has no value. Raises `DataError` for figures of other units.
    """
    trainings, every = len(first), [*first, *second]
    differences = [one.value - other.value for one, other in zip(first, second, strict=True)]
    if resamples <= 0 or not every:
        return None
    if len({(each.units, len(each.statistics)) for each in every}) > 1:
        raise DataError("two models can only be compared on the same images; not across different ones")
    spread = float(np.std(differences, ddof=1)) / np.sqrt(trainings) if trainings > 1 else 0.0
    generator = np.random.default_rng([seed, trainings])
    ends = np.cumsum([each.statistics.shape[1] for each in every])[:-1]

    def figure(sums: Floats) -> Floats:
        parts = np.split(sums, ends, axis=1)
        values = [each.of_sums(part) for each, part in zip(every, parts, strict=True)]
        means = np.mean(values[:trainings], axis=0) - np.mean(values[trainings:], axis=0)
        if not spread:
            return np.asarray(means)
        drawn = generator.standard_t(trainings - 1, size=(len(means), _DRAWS))
        return np.ravel(means[:, None] + spread * drawn)

    return resampled_interval(np.hstack([each.statistics for each in every]), figure, resamples, seed)


def mean_of_units(sums: Floats) -> Floats:
    """The figure "first column divided by second": a mean where the second column counts."""
    return np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan, np.float64), where=sums[:, 1] > 0)


def _draw(generator: np.random.Generator, resamples: int, units: int) -> Floats:
    """How often each unit was drawn, with replacement: (resamples, units)."""
    picks = generator.integers(0, units, size=(resamples, units)) + units * np.arange(resamples)[:, None]
    counts = np.bincount(picks.ravel(), minlength=resamples * units)
    return counts.reshape(resamples, units).astype(np.float64)
