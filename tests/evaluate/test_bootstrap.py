from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.errors import DataError
from compressor.evaluate.bootstrap import compare, difference_interval, ratio_interval, rsum_interval
from compressor.evaluate.retrieval import Ranks, retrieval


def noisy(noise: float, seed: int = 0, images: int = 60, captions: int = 3) -> Ranks:
    generator = np.random.default_rng(seed)
    base = np.random.default_rng(99).normal(size=(images, 8))
    owner = np.repeat(np.arange(images), captions)
    texts = base[owner] + noise * generator.normal(size=(len(owner), 8))
    return retrieval(base, texts, owner)


def reference_rsums(models: list[Ranks], resamples: int, seed: int) -> np.ndarray:
    """(resamples, models): whole images drawn with replacement, every query of a drawn image counted."""
    generator = np.random.default_rng(seed)
    rows = []
    done = 0
    while done < resamples:
        size = min(64, resamples - done)
        for picks in generator.integers(0, len(models[0].queries), size=(size, len(models[0].queries))):
            row = []
            for ranks in models:
                image = [ranks.image_ranks[q] for q in picks]
                text = [r for q in picks for r in ranks.text_ranks[ranks.text_to_image == ranks.queries[q]]]
                row.append(
                    sum(100 * np.mean([r <= k for r in side]) for side in (image, text) for k in (1, 5, 10))
                )
            rows.append(row)
        done += size
    return np.asarray(rows)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_intervals_equal_the_definition_with_loops(seed: int) -> None:
    generator = np.random.default_rng(seed)
    owner = generator.integers(0, 12, size=30)
    owner[0] = 0
    teacher, student = (
        retrieval(generator.normal(size=(12, 3)), generator.normal(size=(30, 3)), owner) for _ in range(2)
    )
    drawn = reference_rsums([student, teacher], 80, seed)
    for found, sample in (
        (rsum_interval(student, 80, seed), drawn[:, 0]),
        (ratio_interval(student, teacher, 80, seed), drawn[:, 0] / drawn[:, 1]),
        (difference_interval(student, teacher, 80, seed), drawn[:, 0] - drawn[:, 1]),
    ):
        assert found is not None
        assert [found.low, found.high] == pytest.approx(
            np.percentile(sample, [2.5, 97.5]), rel=1e-9, abs=1e-9
        )


def test_the_interval_holds_the_figure_and_is_seeded() -> None:
    ranks = noisy(0.9)
    interval = rsum_interval(ranks, 500, seed=4)
    assert interval is not None
    assert interval.low < ranks.rsum < interval.high
    assert interval == rsum_interval(ranks, 500, seed=4)
    assert interval != rsum_interval(ranks, 500, seed=5)


def test_captions_of_one_image_are_one_unit() -> None:
    """Repeating every caption adds no information, so it must not make the interval narrower."""
    once = noisy(0.9, captions=1)
    repeated = Ranks(
        once.queries,
        once.image_ranks,
        once.image_map_r,
        np.repeat(once.text_ranks, 5),
        np.repeat(once.text_to_image, 5),
        once.images,
    )
    assert rsum_interval(repeated, 300) == rsum_interval(once, 300)


def test_pairing_narrows_the_difference_of_two_similar_models() -> None:
    """Two models that fail on the same images differ by less than their own intervals suggest."""
    first = noisy(0.9)
    second = noisy(0.92)
    paired = difference_interval(first, second, 500)
    alone = rsum_interval(first, 500)
    assert paired is not None
    assert alone is not None
    assert difference_interval(first, first, 200) == paired.model_copy(update={"low": 0.0, "high": 0.0})
    assert paired.high - paired.low < alone.high - alone.low


def test_compare_reports_share_and_lead_over_the_control() -> None:
    teacher, student, control = noisy(0.5), noisy(0.7), noisy(2.0)
    found = compare(teacher, student, control, resamples=300, pytorch_rsum=student.rsum * 1.01)
    assert found.rsum == pytest.approx(student.rsum / teacher.rsum)
    assert found.control_rsum == pytest.approx(control.rsum / teacher.rsum)
    assert found.student_minus_control == pytest.approx(student.rsum - control.rsum)
    assert found.artifact_rsum == pytest.approx(1 / 1.01)
    assert found.rsum_interval is not None
    assert found.rsum_interval.low < found.rsum < found.rsum_interval.high
    assert found.student_minus_control_interval is not None
    assert 0 < found.student_minus_control_interval.low < found.student_minus_control_interval.high


def test_nothing_is_a_share_of_a_teacher_that_finds_nothing() -> None:
    student = noisy(0.5)
    collapsed = retrieval(np.ones((60, 4)), np.ones((180, 4)), student.text_to_image)
    found = compare(collapsed, student, resamples=50)
    assert found.rsum is None
    assert found.rsum_interval is None


def test_no_resamples_means_no_interval() -> None:
    ranks = noisy(0.5)
    assert rsum_interval(ranks, 0) is None
    assert compare(ranks, ranks, ranks, resamples=0).student_minus_control_interval is None
    assert ranks.quality().rsum_interval is None
    assert ranks.quality(bootstrap=50).rsum_interval is not None


def test_models_measured_on_different_pairs_are_not_compared() -> None:
    with pytest.raises(DataError, match="same images and captions"):
        ratio_interval(noisy(0.5), noisy(0.5, images=50), 10)


def test_a_thousand_resamples_of_a_thousand_images_are_cheap() -> None:
    """The bound is ten times what it takes, so that it holds on a busy machine."""
    ranks = noisy(0.9, images=1000, captions=5)
    started = time.process_time()
    compare(ranks, ranks, ranks, resamples=1000)
    assert time.process_time() - started < 5
