"""Confidence intervals of retrieval figures by bootstrap over images. Torch-free.

An image and its captions are one unit: captions of one image succeed and fail together, and resampling them
one by one would make every interval too narrow. Resamples are drawn from the stored ranks, so the gallery
stays the full one and a thousand resamples cost milliseconds. Two models are compared on the *same*
resamples (paired), which removes the part of the spread that both share. Percentile intervals, 95 % (Efron
and Tibshirani 1993, chapter 13).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from compressor.errors import DataError
from compressor.evaluate.resampling import SummedFigure, resampled_interval
from compressor.files import hash_json
from compressor.report.results import Interval, Retention

if TYPE_CHECKING:
    from compressor.evaluate.retrieval import Ranks

Floats = npt.NDArray[np.float64]


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


def summed_rsum(ranks: Ranks) -> SummedFigure:
    """RSUM as a function of sums over the images that have captions."""
    pairs = hash_json([ranks.images, ranks.text_to_image.tolist()])
    return SummedFigure(pairs, _sums_per_image(ranks), _rsum_of)


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

    def figure_of_sums(sums: Floats) -> Floats:
        return figure([_rsum_of(part) for part in np.split(sums, len(models), axis=1)])

    return resampled_interval(
        np.hstack([_sums_per_image(ranks) for ranks in models]), figure_of_sums, resamples, seed
    )


def _check_same_pairs(first: Ranks, second: Ranks) -> None:
    if first.images != second.images or not np.array_equal(first.text_to_image, second.text_to_image):
        raise DataError(
            "two models can only be compared on the same images and captions; not across different ones"
        )


def _sums_per_image(ranks: Ranks) -> Floats:
    """Of every image that has captions (Q, 4): one, its captions, and the hits of itself and of its captions
    together, summed over the cut-offs."""
    owner = ranks.text_to_image
    captions, hits = (
        np.bincount(owner, weights=weights, minlength=ranks.images)[ranks.queries]
        for weights in (None, ranks.text_hits)
    )
    columns = [np.ones(len(ranks.queries)), captions, ranks.image_hits, hits]
    return np.stack(columns, axis=1).astype(np.float64)


def _rsum_of(sums: Floats) -> Floats:
    """RSUM (R,) from sums over resampled images (R, 4)."""
    images, captions, image_hits, text_hits = sums.T
    return 100.0 * (image_hits / images + text_hits / captions)
