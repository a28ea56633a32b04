"""The teacher's thresholds on the student's scale: a map of cosines, fitted on validation pairs. Torch-free.

The map is equipercentile equating (Kolen and Brennan, Test Equating, Scaling, and Linking, 2014): a threshold
goes to the cosine of the student that accepts the same share of pairs. Pairs are an even mix of matches (an
image and one of its captions) and others (an image and a caption of another image), each half weighing the
same however many pairs it has: of the others there are hundreds of times as many, and thresholds lie between
the two. Unlike a regression of the student's cosine on the teacher's, which draws thresholds towards the mean
the less the two agree, it keeps how much is accepted, and it can be read in both directions.

What no map can keep is *which* pairs are accepted. Its error is therefore measured on held-out images, every
fold of which is compared only with itself: the shares accepted of the mix, of the matches, of the others, and
how many pairs only one of the models accepts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compressor.runtime.calibration import Calibration, CalibrationError

FOLDS = 5
_LEVELS = np.concatenate([[0, 0.001, 0.005], np.linspace(0.01, 0.99, 99), [0.995, 0.999, 1]])
_THRESHOLDS = np.linspace(0.05, 0.95, 19)
_CLOSEST = 1e-6  # knots nearer to each other are one
_Rows = NDArray[np.float32]
_Cosines = NDArray[np.float64]


@dataclass(frozen=True)
class CalibrationPairs:
    """Unit embeddings of the same pairs by both models.

    `teacher` and `student`: image rows (N, D) and text rows (M, D), each model with a D of its own; caption m
    belongs to image `text_to_image[m]`.
    """

    teacher: tuple[_Rows, _Rows]
    student: tuple[_Rows, _Rows]
    text_to_image: NDArray[np.int64]

    @property
    def images(self) -> int:
        return len(self.student[0])

    def cosines(self, images: NDArray[np.int64]) -> _Mix:
        """Cosines of these images with each other's captions."""
        place = np.full(self.images, -1)
        place[images] = np.arange(len(images))
        texts = np.flatnonzero(place[self.text_to_image] >= 0)
        matches = place[self.text_to_image[texts]] == np.arange(len(images))[:, None]
        teacher, student = (
            (pictures[images].astype(np.float64) @ captions[texts].T.astype(np.float64)).clip(-1, 1)
            for pictures, captions in (self.teacher, self.student)
        )
        return _Mix(teacher.ravel(), student.ravel(), matches.ravel())


@dataclass(frozen=True)
class _Mix:
    """Cosines (P,) of pairs by both models, and which of them match."""

    teacher: _Cosines
    student: _Cosines
    matches: NDArray[np.bool_]

    @property
    def weights(self) -> _Cosines:
        """Half of the whole for the matches, half for the others."""
        found = int(self.matches.sum())
        return np.where(self.matches, 0.5 / max(found, 1), 0.5 / max(len(self.matches) - found, 1))


def fit_calibration(pairs: CalibrationPairs, *, split: str, precision: str, seed: int) -> Calibration | None:
    """The map fitted on all pairs, with its cross-validated error; None below `2 * FOLDS` images.

    `seed` decides which images are held out together.
    """
    if pairs.images < 2 * FOLDS:
        return None
    whole = pairs.cosines(np.arange(pairs.images))
    teacher, student = _knots(whole)
    matches = int(whole.matches.sum())
    return Calibration(
        precision=precision,
        split=split,
        images=pairs.images,
        matches=matches,
        others=len(whole.matches) - matches,
        measured=(float(whole.teacher.min()), float(whole.teacher.max())),
        teacher=tuple(teacher.tolist()),
        student=tuple(student.tolist()),
        error=_error(pairs, seed),
    )


def _knots(mix: _Mix) -> tuple[_Cosines, _Cosines]:
    """Equal shares of the mix on both scales, from -1 to 1; both rise strictly."""
    weights = mix.weights
    levels = [_quantiles(cosines, weights) for cosines in (mix.teacher, mix.student)]
    kept = [(-1.0, -1.0)]
    for teacher, student in zip(*levels, strict=True):
        if (
            min(teacher - kept[-1][0], student - kept[-1][1]) >= _CLOSEST
            and max(teacher, student) < 1 - _CLOSEST
        ):
            kept.append((teacher, student))
    rows = np.array([*kept, (1.0, 1.0)])
    return rows[:, 0], rows[:, 1]


def _quantiles(cosines: _Cosines, weights: _Cosines) -> _Cosines:
    """Cosines at which the weight below reaches each of the levels."""
    order = np.argsort(cosines)
    ordered, below = cosines[order], np.cumsum(weights[order])
    middles = (below - weights[order] / 2) / below[-1]
    return np.interp(_LEVELS, middles, ordered)


def _error(pairs: CalibrationPairs, seed: int) -> CalibrationError:
    """Every fold against a map that was fitted on the others."""
    order = np.random.default_rng(seed).permutation(pairs.images)
    folds = [np.sort(part) for part in np.array_split(order, FOLDS)]
    rows, distances = [], []
    for number, held_out in enumerate(folds):
        rest = np.sort(np.concatenate([fold for other, fold in enumerate(folds) if other != number]))
        fitted = pairs.cosines(rest)
        teacher, student = _knots(fitted)
        thresholds = np.interp(_THRESHOLDS, _LEVELS, _quantiles(fitted.teacher, fitted.weights))
        mix = pairs.cosines(held_out)
        mapped = np.interp(mix.teacher, teacher, student)
        distances.append(float((np.abs(mix.student - mapped) * mix.weights).sum()))
        limits = zip(thresholds, np.interp(thresholds, teacher, student), strict=True)
        rows.append([_misses(mix, threshold, limit) for threshold, limit in limits])
    found = 100 * np.array(rows).mean(axis=0)  # (thresholds, 4)
    accepted, matches, others, disagree = found.mean(axis=0)
    return CalibrationError(
        folds=FOLDS,
        cosine=float(np.mean(distances)),
        accepted=float(accepted),
        accepted_worst=float(found[:, 0].max()),
        matches=float(matches),
        others=float(others),
        disagree=float(disagree),
    )


def _misses(mix: _Mix, threshold: float, mapped: float) -> tuple[float, float, float, float]:
    """How much more or less the student accepts of the mix, the matches and the others; pairs decided
    differently."""
    teacher, student = mix.teacher >= threshold, mix.student >= mapped
    excess = student.astype(np.float64) - teacher
    matches, others = (float(excess[of].mean()) if of.any() else 0.0 for of in (mix.matches, ~mix.matches))
    return abs(matches + others) / 2, abs(matches), abs(others), float((np.abs(excess) * mix.weights).sum())
