"""Latency of one caption or answer of teacher and student, interleaved as `latency` says. Torch-free."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from compressor.benchmark.latency import Clock, Progress, no_collection, order_of_round
from compressor.benchmark.statistics import median_interval, timing
from compressor.recipe.outcome import BenchmarkSection, GenerationSection
from compressor.report.results import GenerationLatency, RoleTimings

Call = Callable[[int], None]
"""Writes one text; the number says which of the inputs is read."""


def compare_generation(
    models: Mapping[str, Call],
    section: BenchmarkSection,
    writing: GenerationSection,
    provider: str,
    progress: Progress,
    seed: int = 0,
    clock: Clock = time.perf_counter_ns,
) -> tuple[GenerationLatency, dict[str, dict[str, Any]]]:
    """Time "teacher" and "student", and any other precisions of the student, in rounds that alternate.

    Ratios are taken within each round. The second result has, by precision ("fp32" is the student itself),
    `p50_ms` and `slower_than_fp32`.
    """
    shape = (section.rounds, section.repeats)
    taken = {name: np.zeros(shape) for name in models}
    for call in models.values():
        for k in range(section.warmup):
            call(k)
    for number in range(section.rounds):
        with no_collection():
            for name in order_of_round(list(models), number):
                for repeat in range(section.repeats):
                    start = clock()
                    models[name](number * section.repeats + repeat)
                    taken[name][number, repeat] = (clock() - start) / 1e6
        progress(number + 1, section.rounds)
    timings = RoleTimings(**{role: timing(taken[role], seed) for role in ("teacher", "student")})
    per_round = np.median(taken["student"], axis=1) / np.median(taken["teacher"], axis=1)
    latency = GenerationLatency(
        provider=provider,
        threads=section.threads,
        beams=writing.beams,
        max_length=writing.max_length,
        generation=timings,
        p50_ratio=float(np.median(per_round)),
        p50_ratio_interval=median_interval(per_round[:, None], seed),
    )
    precisions = {"fp32": taken["student"]} | {
        name: found for name, found in taken.items() if name not in ("teacher", "student")
    }
    exact = np.median(taken["student"], axis=1)
    figures = {
        name: {
            "p50_ms": float(np.median(found)),
            "slower_than_fp32": bool(np.median(np.median(found, axis=1) / exact) > 1),
        }
        for name, found in precisions.items()
    }
    return latency, figures
