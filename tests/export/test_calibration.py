from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compressor.export.calibration import CalibrationPairs, fit_calibration
from compressor.runtime.calibration import Calibration

Rows = NDArray[np.float32]


def unit(rows: NDArray[np.float64]) -> Rows:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def embeddings(seed: int, images: int = 60, captions: int = 2, width: int = 16) -> tuple[Rows, Rows]:
    """Captions lie near their image."""
    random = np.random.default_rng(seed)
    pictures = random.normal(size=(images, width))
    texts = np.repeat(pictures, captions, 0) + random.normal(size=(images * captions, width))
    return unit(pictures), unit(texts)


def narrowed(rows: Rows, share: float) -> Rows:
    """Unit rows that have one more dimension in common: every cosine c becomes share + (1 - share) c."""
    common = np.full((len(rows), 1), np.sqrt(share))
    return np.hstack([common, np.sqrt(1 - share) * rows]).astype(np.float32)


def fit(teacher: tuple[Rows, Rows], student: tuple[Rows, Rows], captions: int = 2) -> Calibration:
    owner = np.repeat(np.arange(len(teacher[0])), captions)
    found = fit_calibration(CalibrationPairs(teacher, student, owner), split="val", precision="fp32", seed=0)
    assert found is not None
    return found


def test_a_student_on_another_scale_is_mapped_onto_it() -> None:
    teacher = embeddings(0)
    student = (narrowed(teacher[0], 0.6), narrowed(teacher[1], 0.6))
    found = fit(teacher, student)
    thresholds = np.linspace(*found.measured, 50)
    np.testing.assert_allclose(found.to_student(thresholds), 0.6 + 0.4 * thresholds, atol=2e-3)
    np.testing.assert_allclose(found.to_teacher(0.6 + 0.4 * thresholds), thresholds, atol=5e-3)
    assert found.error.accepted < 0.2
    assert found.error.disagree < 0.2
    assert found.error.cosine < 1e-3


def test_a_mapped_threshold_accepts_the_share_that_the_teachers_does() -> None:
    """Counted pair by pair; the student sees the same pictures through noise of its own."""
    teacher = embeddings(1)
    random = np.random.default_rng(2)
    student = tuple(narrowed(unit(rows + 0.2 * random.normal(size=rows.shape)), 0.3) for rows in teacher)
    found = fit(teacher, student)  # type: ignore[arg-type]
    cosines = [pictures @ texts.T for pictures, texts in (teacher, student)]
    for threshold in (0.0, 0.2, 0.5, 0.7):
        shares = []
        for scale, limit in zip(cosines, (threshold, float(found.to_student(threshold))), strict=True):
            counted = {True: [0, 0], False: [0, 0]}
            for image in range(60):
                for text in range(120):
                    of = counted[text // 2 == image]
                    of[0] += scale[image, text] >= limit
                    of[1] += 1
            shares.append(sum(accepted / of for accepted, of in counted.values()) / 2)
        assert shares[1] == pytest.approx(shares[0], abs=0.01)
    assert 0 < found.error.accepted < 5
    assert found.error.accepted <= found.error.accepted_worst
    assert found.error.disagree > found.error.accepted


def test_an_unrelated_student_shows_its_error() -> None:
    """Its scale can be mapped; its decisions cannot, and the error says so."""
    teacher, random = embeddings(3), np.random.default_rng(4)
    student = (unit(random.normal(size=(60, 8))), unit(random.normal(size=(120, 8))))
    error = fit(teacher, student).error
    assert error.matches > 15
    assert error.disagree > 20


def test_a_student_that_maps_everything_to_one_point_has_a_map_and_a_large_error() -> None:
    teacher = embeddings(5)
    point = np.zeros((1, 4), np.float32)
    point[0, 0] = 1
    found = fit(teacher, (point.repeat(60, 0), point.repeat(120, 0)))
    assert (found.teacher, found.student) == ((-1, 1), (-1, 1))
    assert found.error.disagree > 30


def test_too_few_images_give_no_calibration() -> None:
    rows = embeddings(6, images=9)
    pairs = CalibrationPairs(rows, rows, np.repeat(np.arange(9), 2))
    assert fit_calibration(pairs, split="val", precision="fp32", seed=0) is None


def test_the_same_pairs_give_the_same_calibration() -> None:
    teacher, student = embeddings(7), embeddings(8)
    assert fit(teacher, student) == fit(teacher, student)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), low=st.floats(-1, 1), high=st.floats(-1, 1))
def test_the_map_keeps_the_order_and_stays_a_cosine(seed: int, low: float, high: float) -> None:
    found = fit(embeddings(seed, 12), embeddings(seed + 1, 12))
    first, second = found.to_student(sorted([low, high]))
    assert -1 <= first <= second <= 1
    np.testing.assert_allclose(found.to_teacher([first, second]), sorted([low, high]), atol=1e-6)


def test_knots_that_are_no_map_are_refused() -> None:
    found = fit(embeddings(0), embeddings(1)).model_dump()
    for change in (
        {"teacher": (-1, 0, 0, 1)},
        {"student": (-1, 1)},
        {"teacher": (0, 1)},
        {"method": "other"},
    ):
        with pytest.raises(ValueError, match=r"knots|method"):
            Calibration.model_validate(found | change)
