"""Latency of one text: which model is timed when, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from compressor.benchmark.generation import compare_generation
from compressor.recipe.outcome import BenchmarkSection, GenerationSection


class Time:
    """A clock that each model moves on by its own milliseconds."""

    def __init__(self) -> None:
        self.now = 0
        self.calls: list[tuple[str, int]] = []

    def __call__(self) -> int:
        return self.now

    def model(self, name: str, milliseconds: float) -> Callable[[int], None]:
        def call(number: int) -> None:
            self.calls.append((name, number))
            self.now += int(milliseconds * 1e6)

        return call


def test_models_take_turns_and_are_compared_within_a_round() -> None:
    time = Time()
    cost = {"teacher": 40.0, "student": 10.0, "int8": 12.5, "int4": 5.0}
    progress: list[tuple[int, int]] = []
    latency, artifacts = compare_generation(
        {name: time.model(name, each) for name, each in cost.items()},
        BenchmarkSection(warmup=1, rounds=4, repeats=2),
        GenerationSection(beams=5, max_length=9),
        "CPUExecutionProvider",
        lambda done, total: progress.append((done, total)),
        clock=time,
    )
    assert latency.p50_ratio == pytest.approx(0.25)
    assert latency.generation.teacher is not None
    assert latency.generation.student is not None
    assert latency.generation.teacher.p50_ms == pytest.approx(40)
    assert (latency.generation.student.n, latency.beams, latency.max_length) == (8, 5, 9)
    assert (latency.backend, latency.provider) == ("onnxruntime", "CPUExecutionProvider")
    assert artifacts == {
        "fp32": {"p50_ms": pytest.approx(10), "slower_than_fp32": False},
        "int8": {"p50_ms": pytest.approx(12.5), "slower_than_fp32": True},
        "int4": {"p50_ms": pytest.approx(5), "slower_than_fp32": False},
    }
    assert len(time.calls) == 4 * (1 + 4 * 2)
    firsts = [time.calls[k][0] for k in range(4, 36, 8)]
    assert len(set(firsts)) > 1, "the order changes from round to round"
    assert progress[-1] == (4, 4)
