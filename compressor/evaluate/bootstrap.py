"""Confidence intervals of retrieval figures by bootstrap over images. Torch-free.

An image and its captions are one unit: captions of one image succeed and fail together, and resampling them
one by one would make every interval too narrow. Resamples are drawn from the stored ranks, so the gallery
stays the full one and a thousand resamples cost milliseconds. Two models are compared on the *same*
resamples (paired), which removes the part of the spread that both share. Percentile intervals, 95 % (Efron
and Tibshirani 1993, chapter 13).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from compressor.errors import DataError
from compressor.evaluate.resampling import resampled_interval
from compressor.report.results import Interval, Retention

if TYPE_CHECKING:
    from compressor.evaluate.retrieval import Ranks

Floats = npt.NDArray[np.float64]

_DRAWS = 64
"""Values of Student's t that every resample of the images meets."""


def rsum_interval(ranks: Ranks, resamples: int = 1000, seed: int = 0) -> Interval | None:
    """95 % interval of one model's RSUM; None for 0 resamples."""
    return _interval([ranks], lambda sums: sums[0], resamples, seed)


def ratio_interval(
    numerator: Ranks, denominator: Ranks, resamples: int = 1000, seed: int = 0
) -> Interval | None:
    """95 % interval of RSUM(numerator) / RSUM(denominator), paired.

    None for 0 resamples, and where a resample leaves the denominator without a single hit.
    """

    def ratio(sums: list[Floats]) -> Floats:
        return np.divide(sums[0], sums[1], out=np.full_like(sums[0], np.nan), where=sums[1] > 0)

    return _interval([numerator, denominator], ratio, resamples, seed)


def difference_interval(first: Ranks, second: Ranks, resamples: int = 1000, seed: int = 0) -> Interval | None:
    """95 % interval of RSUM(first) - RSUM(second) in points, paired; None for 0 resamples."""
    return _interval([first, second], lambda sums: sums[0] - sums[1], resamples, seed)


def difference_over_seeds_interval(
    first: Sequence[Ranks], second: Sequence[Ranks], resamples: int = 1000, seed: int = 0
) -> Interval | None:
    """95 % interval of the mean over trainings k of RSUM(first[k]) - RSUM(second[k]), in points.

    `first[k]` and `second[k]` were trained with the same seed. Both images and trainings vary: every resample
    of the images, the same for all, gives a mean difference, and to it s / sqrt(n) * t is added, with s the
    sample standard deviation of the n paired differences and t drawn from Student's distribution with n - 1
    degrees of freedom, as in the classical interval of a mean. What images and trainings spread together
    counts in both parts, so that the interval errs on the wide side. One training leaves the images alone.
    None for 0 resamples.
    """
    trainings = len(first)
    differences = [one.rsum - other.rsum for one, other in zip(first, second, strict=True)]
    spread = float(np.std(differences, ddof=1)) / np.sqrt(trainings) if trainings > 1 else 0.0
    generator = np.random.default_rng([seed, trainings])

    def figure(sums: list[Floats]) -> Floats:
        means = np.mean(sums[:trainings], axis=0) - np.mean(sums[trainings:], axis=0)
        if not spread:
            return np.asarray(means)
        drawn = generator.standard_t(trainings - 1, size=(len(means), _DRAWS))
        return np.ravel(means[:, None] + spread * drawn)

    return _interval([*first, *second], figure, resamples, seed)


def compare(
    teacher: Ranks | None,
    student: Ranks,
    control: Ranks | None = None,
    resamples: int = 1000,
    seed: int = 0,
    pytorch_rsum: float | None = None,
) -> Retention:
    """What the student keeps of its teacher, and what the teacher gave it over the control, with intervals.

    `pytorch_rsum` is the RSUM of the student before export, on the same pairs. Shares are null where the
    teacher finds nothing, a share of zero does not exist, and where it ranks no pairs (`teacher` None).
    """
    found = 0.0 if teacher is None else teacher.rsum
    return Retention(
        rsum=student.rsum / found if found else None,
        rsum_interval=None if teacher is None else ratio_interval(student, teacher, resamples, seed),
        artifact_rsum=student.rsum / pytorch_rsum if pytorch_rsum else None,
        control_rsum=control.rsum / found if control is not None and found else None,
        student_minus_control=None if control is None else student.rsum - control.rsum,
        student_minus_control_interval=None
        if control is None
        else difference_interval(student, control, resamples, seed),
    )


def _interval(
    models: list[Ranks], figure: Callable[[list[Floats]], Floats], resamples: int, seed: int
) -> Interval | None:
    if resamples <= 0:
        return None
    for other in models[1:]:
        _check_same_pairs(models[0], other)
    first = models[0]
    captions = np.bincount(first.text_to_image, minlength=first.images)[first.queries].astype(np.float64)
    columns = [np.ones_like(captions), captions]
    for ranks in models:
        columns += _hits_per_image(ranks)

    def figure_of_sums(sums: Floats) -> Floats:
        images, texts, *hits = sums.T
        rsums = [100.0 * (hits[i] / images + hits[i + 1] / texts) for i in range(0, len(hits), 2)]
        return figure(rsums)

    return resampled_interval(np.stack(columns, axis=1), figure_of_sums, resamples, seed)


def _check_same_pairs(first: Ranks, second: Ranks) -> None:
    if first.images != second.images or not np.array_equal(first.text_to_image, second.text_to_image):
        raise DataError(
            "two models can only be compared on the same images and captions; not across different ones"
        )


def _hits_per_image(ranks: Ranks) -> tuple[Floats, Floats]:
    """Hits summed over the cut-offs, per query image: of the image itself (Q,), of its captions together
    (Q,)."""
    text = np.bincount(ranks.text_to_image, weights=ranks.text_hits, minlength=ranks.images)[ranks.queries]
    return ranks.image_hits.astype(np.float64), text.astype(np.float64)
