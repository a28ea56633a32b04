from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compressor.errors import ModelError
from compressor.export.parity import centred_cosines, judge_tower
from compressor.recipe.outcome import ParityBounds

Rows = NDArray[np.float32]
BOUNDS = ParityBounds()


def unit(rows: NDArray[Any]) -> Rows:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def around_one_point(count: int = 40, width: int = 16, distance: float = 0.3, seed: int = 0) -> Rows:
    """Unit rows that lie near one point, as those of an untrained network do: plain cosines are all near
    1."""
    random = np.random.default_rng(seed)
    centre = unit(random.normal(size=(1, width)))
    return unit(centre + distance / math.sqrt(width) * random.normal(size=(count, width)))


class TableTower:
    """Answers row k of a table to input k, whatever the batch; `alter(rows, batch)` spoils the answer."""

    def __init__(self, rows: Rows, alter: Callable[[Rows, int], Rows] = lambda rows, batch: rows) -> None:
        self.rows, self.alter = rows, alter

    def run(self, inputs: NDArray[Any]) -> Rows:
        return self.alter(self.rows[inputs], len(inputs))


def judge(reference: Rows, output: Rows, precision: str = "fp32", **tower: Any) -> Any:
    return judge_tower(TableTower(output, **tower), np.arange(len(reference)), reference, BOUNDS, precision)  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(2, 12), width=st.integers(2, 6))
def test_centred_cosine_is_the_cosine_after_subtracting_the_references_mean(
    seed: int, count: int, width: int
) -> None:
    random = np.random.default_rng(seed)
    reference = unit(random.normal(size=(count, width)))
    candidate = unit(random.normal(size=(count, width)))
    mean = [sum(float(row[d]) for row in reference) / count for d in range(width)]
    spread = math.sqrt(sum((float(row[d]) - mean[d]) ** 2 for row in reference for d in range(width)) / count)
    for found, r, c in zip(centred_cosines(reference, candidate), reference, candidate, strict=True):
        dot = sum((float(r[d]) - mean[d]) * (float(c[d]) - mean[d]) for d in range(width))
        lengths = [math.sqrt(sum((float(v[d]) - mean[d]) ** 2 for d in range(width))) for v in (r, c)]
        if max(lengths) <= 0.05 * spread:
            assert math.isnan(found)
        else:
            assert found == pytest.approx(dot / (lengths[0] * lengths[1]), abs=1e-9)


def test_same_embeddings_pass() -> None:
    rows = around_one_point()
    result = judge(rows, rows)
    assert (result.passed, result.reason) == (True, "")
    assert result.cosine == pytest.approx(1)
    assert result.worst_cosine == pytest.approx(1)


def test_constant_output_fails_although_its_plain_cosine_is_high() -> None:
    rows = around_one_point(distance=0.1)
    constant = np.repeat(unit(rows.mean(axis=0, keepdims=True)), len(rows), axis=0)
    assert (rows * constant).sum(axis=1).mean() > 0.99
    result = judge(rows, constant)
    assert not result.passed
    assert result.cosine < 0.5


def test_embeddings_of_other_samples_fail() -> None:
    rows = around_one_point()
    result = judge(rows, np.roll(rows, 1, axis=0))
    assert not result.passed
    assert "mean cosine" in result.reason


def test_constant_offset_fails() -> None:
    """An offset common to all rows moves every image for every text; centring on the artifact's own mean
    would hide it."""
    rows = around_one_point(distance=0.1)
    offset = unit(rows + 0.3 * np.eye(rows.shape[1])[0])
    assert not judge(rows, offset).passed


def test_one_wrong_sample_fails_on_the_worst_cosine() -> None:
    rows = around_one_point(100)
    wrong = rows.copy()
    wrong[7] = rows[8]
    result = judge(rows, wrong)
    assert not result.passed
    assert "worst cosine" in result.reason
    assert result.cosine > BOUNDS.cosine > BOUNDS.worst_cosine > result.worst_cosine


def test_sample_at_the_mean_has_no_say() -> None:
    """Its direction from the mean is rounding; without the exception a good artifact would fail on it."""
    random = np.random.default_rng(0)
    half = unit(random.normal(size=(20, 8)))
    half[:, 0] = 0.8
    half[:, 1:] *= 0.6 / np.linalg.norm(half[:, 1:], axis=1, keepdims=True)
    mirrored = half * np.where(np.arange(8) == 0, 1, -1)
    rows = np.concatenate([half, mirrored, unit(np.eye(8)[:1])]).astype(np.float32)
    rows[-1] = [0.8, *np.full(7, 1e-4)]
    noisy = rows.copy()
    noisy[-1, 1:] *= -1
    cosines = centred_cosines(rows, noisy)
    assert math.isnan(cosines[-1])
    np.testing.assert_allclose(cosines[:-1], 1)


def test_wrong_answer_to_a_sample_at_the_mean_is_seen() -> None:
    rows = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1 / 3, 1 / 3, 1 / 3]], np.float32)
    wrong = rows.copy()
    wrong[3] = [0, 0, 1]
    assert math.isnan(centred_cosines(rows, rows)[3])
    assert centred_cosines(rows, wrong)[3] == pytest.approx(0, abs=1)
    assert not math.isnan(centred_cosines(rows, wrong)[3])


@pytest.mark.parametrize("distance", [0.0, 1e-9])
def test_outputs_that_do_not_vary_cannot_be_judged(distance: float) -> None:
    rows = around_one_point(distance=distance)
    result = judge(rows, rows)
    assert not result.passed
    assert "cannot be judged: the outputs hardly vary" in result.reason


def test_rounding_noise_on_collapsed_outputs_is_called_by_its_name() -> None:
    rows = around_one_point(distance=2e-5)
    noise = np.random.default_rng(1).normal(size=rows.shape).astype(np.float32) * 1e-5
    result = judge(rows, rows + noise)
    assert not result.passed
    assert "hardly vary" in result.reason
    assert "rounding decides" in result.reason


def test_rounding_noise_on_a_narrow_but_real_spread_passes() -> None:
    """An untrained network of 24 layers: spread 1 % of the length, float32 rounding of some 1e-6."""
    rows = around_one_point(distance=0.01)
    noise = np.random.default_rng(1).normal(size=rows.shape).astype(np.float32) * 1e-6
    assert judge(rows, rows + noise).passed


def test_two_groups_of_equal_samples_cannot_be_judged() -> None:
    """All rows but one are equal: shuffled rows agree nearly as well as the right ones."""
    rows = np.repeat(unit(np.array([[1.0, 0, 0]])), 400, axis=0)
    rows[0] = [0, 1, 0]
    result = judge(rows, rows)
    assert not result.passed
    assert "hardly vary" in result.reason


def test_two_samples_among_hundreds_at_the_mean_do_not_decide() -> None:
    rows = np.repeat(np.array([[1, 0, 0]], np.float32), 500, axis=0)
    rows[:2] = unit(np.array([[0.87, 0.5, 0], [0.87, -0.5, 0]]))
    assert np.isfinite(centred_cosines(rows, rows)).sum() == 2
    result = judge(rows, rows)
    assert not result.passed
    assert "hardly vary" in result.reason
    assert "shuffled" not in result.reason


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_embedding_that_is_not_finite_fails(value: float) -> None:
    rows = around_one_point()
    bad = rows.copy()
    bad[3, 0] = value
    assert judge(rows, bad).reason == "1 of 40 embeddings are NaN or infinite"
    assert judge(bad, rows).reason == "PyTorch's own embeddings are NaN or infinite"


def test_rows_that_are_not_of_unit_length_fail() -> None:
    rows = around_one_point()
    assert "unit length" in judge(rows, rows * np.float32(1.01)).reason


def test_another_width_fails() -> None:
    rows = around_one_point()
    assert "(40, 8)" in judge(rows, unit(rows[:, :8])).reason


def test_batches_that_disagree_fail() -> None:
    rows = around_one_point()

    def wrong_alone(found: Rows, batch: int) -> Rows:
        return unit(found + 0.2 * np.eye(found.shape[1])[0]) if batch == 1 else found

    assert "batches of 1 and of 32 disagree" in judge(rows, rows, alter=wrong_alone).reason
    for size in (3, 7):

        def turned(found: Rows, batch: int, odd: int = size) -> Rows:
            return unit(found[::-1]) if batch == odd else found

        assert f"batches of {size}" in judge(rows, rows, alter=turned).reason


def test_small_disagreement_between_batches_is_int8s_nature_but_not_fp32s() -> None:
    rows = around_one_point()

    def slightly_other_alone(found: Rows, batch: int) -> Rows:
        return unit(found + (0.02 if batch == 1 else 0) * np.eye(found.shape[1])[0])

    assert not judge(rows, rows, alter=slightly_other_alone).passed
    assert judge(rows, rows, "int8", alter=slightly_other_alone).passed


def test_graph_that_does_not_run_fails_with_its_message() -> None:
    rows = around_one_point()

    def refuse(found: Rows, batch: int) -> Rows:
        raise ModelError("cannot be run")

    assert judge(rows, rows, alter=refuse).reason == "cannot be run"
