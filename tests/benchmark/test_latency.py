from __future__ import annotations

import gc
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from PIL import Image

from compressor.benchmark.latency import Calls, compare_artifacts, compare_latency, order_of_round
from compressor.benchmark.statistics import median_interval, timing
from compressor.errors import DataError
from compressor.recipe.outcome import BenchmarkSection


@dataclass
class FakeClock:
    """Time that passes only when a bundle works."""

    now: int = 0

    def __call__(self) -> int:
        return self.now


class FakePreprocessor:
    def images(self, items: list[Any]) -> np.ndarray:
        return np.arange(len(items), dtype=np.float32)[:, None, None, None] * np.ones(
            (1, 3, 4, 4), np.float32
        )

    def texts(self, items: list[str]) -> np.ndarray:
        return np.arange(len(items), dtype=np.int64)[:, None] * np.ones((1, 5), np.int64)


@dataclass
class FakeBundle:
    """Takes `image_ms` and `text_ms` per item, times a drift that all bundles on one clock share."""

    clock: FakeClock
    name: str
    image_ms: float
    text_ms: float
    diary: list[tuple[str, str, int]] = field(default_factory=list)
    drift: float = 0.0
    threads: int = 1
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    preprocessor: FakePreprocessor = field(default_factory=FakePreprocessor)
    collected: list[bool] = field(default_factory=list)

    def _work(self, tower: str, batch: np.ndarray, ms: float) -> np.ndarray:
        self.diary.append((self.name, tower, len(batch)))
        self.collected.append(gc.isenabled())
        self.clock.now += round(ms * 1e6 * len(batch) * (1 + self.drift * self.clock.now / 1e9))
        return np.zeros((len(batch), 2), np.float32)

    def run_images(self, pixels: np.ndarray) -> np.ndarray:
        assert pixels.dtype == np.float32
        assert pixels.flags["C_CONTIGUOUS"]
        return self._work("image", pixels, self.image_ms)

    def run_texts(self, ids: np.ndarray) -> np.ndarray:
        return self._work("text", ids, self.text_ms)


IMAGES = [Image.new("RGB", (20, 10), (k, 0, 0)) for k in range(3)]
TEXTS = ["one", "two", "three", "four", "five"]
SECTION = BenchmarkSection(threads=1, warmup=2, rounds=6, repeats=4, batch_sizes=(1, 8))


def two(drift: float = 0.0) -> tuple[FakeClock, dict[str, FakeBundle], list[tuple[str, str, int]]]:
    clock, diary = FakeClock(), []
    models = {
        "teacher": FakeBundle(clock, "teacher", 40, 10, diary, drift),
        "student": FakeBundle(clock, "student", 4, 1, diary, drift),
    }
    return clock, models, diary


def test_figures_are_those_of_the_calls() -> None:
    clock, models, _ = two()
    found = compare_latency(models, IMAGES, TEXTS, SECTION, clock=clock).latency
    assert found.image.teacher.p50_ms == pytest.approx(40)  # type: ignore[union-attr]
    assert found.text.student.p99_ms == pytest.approx(1)  # type: ignore[union-attr]
    assert found.pair.student.p50_ms == pytest.approx(5)  # type: ignore[union-attr]
    assert found.pair.student.n == 24  # type: ignore[union-attr]
    assert found.p50_ratio == pytest.approx(0.1)
    assert found.p50_ratio_interval.low == found.p50_ratio_interval.high == pytest.approx(0.1)  # type: ignore[union-attr]
    assert (found.threads, found.provider, found.precision) == (1, "CPUExecutionProvider", "fp32")


def test_a_machine_that_slows_down_does_not_move_the_ratio() -> None:
    clock, models, _ = two(drift=0.5)
    found = compare_latency(models, IMAGES, TEXTS, SECTION, clock=clock).latency
    assert found.image.teacher.p99_ms > 1.5 * 40  # type: ignore[union-attr]
    assert found.p50_ratio == pytest.approx(0.1, rel=0.05)


def test_the_same_bundle_in_both_roles_has_ratio_one() -> None:
    clock = FakeClock()
    bundle = FakeBundle(clock, "same", 7, 3)
    found = compare_latency(
        {"teacher": bundle, "student": bundle}, IMAGES, TEXTS, SECTION, clock=clock
    ).latency
    assert found.p50_ratio == pytest.approx(1)


def test_rounds_are_interleaved_and_warm_up_comes_first() -> None:
    clock, models, diary = two()
    compare_latency(models, IMAGES, TEXTS, SECTION, clock=clock)
    warm = [name for name, _, _ in diary[: 2 * 2 * SECTION.warmup]]
    assert warm == ["teacher"] * 4 + ["student"] * 4
    timed = diary[8 : 8 + SECTION.rounds * 2 * 2 * SECTION.repeats]
    assert [tower for _, tower, _ in timed[:4]] == ["image", "text", "image", "text"]
    turns = [name for k, (name, _, _) in enumerate(timed) if k % (2 * SECTION.repeats) == 0]
    assert "".join(name[0] for name in turns) == "tsst" + "stts" + "tsst"


@pytest.mark.parametrize("names", [["a"], ["a", "b"], ["a", "b", "c"]])
def test_every_model_takes_every_place_equally_often(names: list[str]) -> None:
    rounds = [order_of_round(names, number) for number in range(2 * len(names))]
    for place in range(len(names)):
        taken = [order[place] for order in rounds]
        assert {name: taken.count(name) for name in names} == dict.fromkeys(names, 2)


def test_no_garbage_is_collected_while_the_clock_runs() -> None:
    clock, models, _ = two()
    assert gc.isenabled()
    compare_latency(models, IMAGES, TEXTS, SECTION, clock=clock)
    assert gc.isenabled()
    assert not any(models["teacher"].collected[2 * SECTION.warmup :])


def test_precisions_of_the_student_are_timed_and_the_slower_is_flagged() -> None:
    clock, models, diary = two()
    others = {
        "int8": FakeBundle(clock, "int8", 6, 1.5, diary),
        "fp16": FakeBundle(clock, "fp16", 2, 1, diary),
    }
    comparison = compare_latency(models, IMAGES, TEXTS, SECTION, clock=clock, artifacts=others)
    expected = {"fp32": (4, 1, 1), "int8": (6, 1.5, 1.5), "fp16": (2, 1, 0.6)}
    assert list(comparison.artifacts) == list(expected)
    for name, (image, text, ratio) in expected.items():
        found = comparison.artifacts[name]
        assert (found["image"], found["text"], found["ratio"]) == pytest.approx((image, text, ratio))
        assert found["ratio_interval"] == pytest.approx({"low": ratio, "high": ratio})
        assert found["slower_than_fp32"] == (ratio > 1)
    assert {row["role"] for row in comparison.latency.batches} == {"teacher", "student"}


def test_the_sweep_holds_every_tower_batch_and_role() -> None:
    clock, models, diary = two()
    rows = compare_latency(models, IMAGES, TEXTS, SECTION, clock=clock).latency.batches
    assert {(row["role"], row["tower"], row["batch"]) for row in rows} == {
        (role, tower, batch) for role in models for tower in ("image", "text") for batch in (1, 8)
    }
    row = next(r for r in rows if (r["role"], r["tower"], r["batch"]) == ("student", "image", 8))
    assert row["p50_ms"] == pytest.approx(32)
    assert row["per_second"] == pytest.approx(250)
    assert row["n"] == SECTION.repeats
    assert ("student", "image", 8) in diary


def test_a_slow_cell_of_the_sweep_is_measured_once_and_not_warmed_up() -> None:
    clock = FakeClock()
    models = {"student": FakeBundle(clock, "student", 1000, 1)}
    rows = compare_latency(models, IMAGES, TEXTS, SECTION, clock=clock).latency.batches
    slow = next(r for r in rows if (r["tower"], r["batch"]) == ("image", 8))
    assert (slow["n"], slow["p50_ms"]) == (1, pytest.approx(8000))


def test_a_student_without_a_runnable_teacher_has_no_ratio() -> None:
    clock = FakeClock()
    found = compare_latency(
        {"student": FakeBundle(clock, "s", 4, 1)}, IMAGES, TEXTS, SECTION, clock=clock
    ).latency
    assert found.p50_ratio is None
    assert found.image.teacher is None
    assert found.image.student is not None


def test_preprocessing_is_measured_apart_and_progress_reaches_its_end() -> None:
    clock, models, _ = two()
    told: list[tuple[int, int]] = []
    found = compare_latency(
        models, IMAGES, TEXTS, SECTION, lambda done, total: told.append((done, total)), clock=clock
    )
    assert set(found.latency.preprocess) == {"decode", "teacher", "student"}
    assert found.latency.preprocess["decode"]["source"] == "JPEG, quality 90"
    assert found.latency.preprocess["student"]["n"] == 3
    assert [done for done, _ in told] == list(range(1, told[-1][1] + 1))
    assert len({total for _, total in told}) == 1


def test_unlike_is_not_compared_with_unlike() -> None:
    clock, models, _ = two()
    models["teacher"].threads = 4
    with pytest.raises(DataError, match="teacher was opened with 4 threads"):
        compare_latency(models, IMAGES, TEXTS, SECTION, clock=clock)
    models["teacher"].threads, models["teacher"].providers = 1, ("CUDAExecutionProvider",)
    with pytest.raises(DataError, match="different backends"):
        compare_latency(models, IMAGES, TEXTS, SECTION, clock=clock)
    with pytest.raises(DataError, match="at least one image and one text"):
        compare_latency(models, [], TEXTS, SECTION, clock=clock)


def test_an_artifact_may_have_a_backend_of_its_own() -> None:
    clock, models, diary = two()
    engine = FakeBundle(clock, "engine", 1, 1, diary, providers=("TensorRT",))
    found = compare_latency(models, IMAGES, TEXTS, SECTION, clock=clock, artifacts={"tensorrt_fp32": engine})
    assert found.latency.provider == "CPUExecutionProvider"
    assert found.artifacts["tensorrt_fp32"]["image"] == 1.0
    assert found.artifacts["tensorrt_fp32"]["ratio"] == pytest.approx(0.4)


def test_a_student_of_another_precision_is_compared_with_fp32_of_its_own() -> None:
    clock, models, diary = two()
    exact = FakeBundle(clock, "fp32", 8, 2, diary)
    found = compare_latency(
        models, IMAGES, TEXTS, SECTION, clock=clock, artifacts={"fp32": exact}, precision="int8_static"
    )
    assert found.latency.precision == "int8_static"
    assert found.latency.pair.student.p50_ms == pytest.approx(5)  # type: ignore[union-attr]
    assert found.latency.p50_ratio == pytest.approx(0.1)
    ratios = {name: figures["ratio"] for name, figures in found.artifacts.items()}
    assert ratios == pytest.approx({"int8_static": 0.5, "fp32": 1.0})


def test_a_student_for_another_runtime_is_timed_there() -> None:
    clock, models, _ = two()
    models["student"].providers = ("OpenVINO",)
    found = compare_latency(
        models, IMAGES, TEXTS, SECTION, clock=clock, precision="openvino_int8", backend="openvino"
    ).latency
    assert (found.backend, found.provider, found.precision) == ("openvino", "OpenVINO", "openvino_int8")
    assert found.p50_ratio == pytest.approx(0.1)


def test_precisions_are_compared_with_each_other_alone() -> None:
    clock, models, diary = two()
    bundles = {"fp32": models["student"], "int8": FakeBundle(clock, "int8", 1, 1, diary)}
    found = compare_artifacts(bundles, IMAGES, TEXTS, SECTION, clock=clock)
    assert {name: figures["ratio"] for name, figures in found.items()} == pytest.approx(
        {"fp32": 1.0, "int8": 0.4}
    )
    with pytest.raises(DataError, match="at least one image and one text"):
        compare_artifacts(bundles, IMAGES, [], SECTION, clock=clock)
    bundles["int8"].threads = 7
    with pytest.raises(DataError, match="the int8 was opened with 7 threads"):
        compare_artifacts(bundles, IMAGES, TEXTS, SECTION, clock=clock)


def test_percentiles_are_those_of_all_calls_and_the_interval_resamples_rounds() -> None:
    calls = np.arange(100, dtype=np.float64).reshape(10, 10)
    found = timing(calls)
    assert (found.p50_ms, found.p90_ms, found.n) == (49.5, pytest.approx(89.1), 100)
    assert found.p50_interval is not None
    assert found.p50_interval.low < 49.5 < found.p50_interval.high
    within = np.tile(
        np.arange(10.0), (10, 1)
    )  # spread within rounds only: every resample of rounds has one median
    assert median_interval(within) == median_interval(within, seed=1)
    assert median_interval(within).low == median_interval(within).high == 4.5
    assert Calls(calls, calls).pair[3, 4] == 2 * calls[3, 4]
