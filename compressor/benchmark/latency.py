"""Latency of teacher and student on the same backend, threads and machine, interleaved. Torch-free.

A machine drifts: neighbours, clocks and caches move a median by a factor within minutes. Therefore all
models are timed in one process in rounds, the order alternates from round to round, and the ratio is taken
within each round, where both models met the same conditions. Calls of one round are not independent, so
intervals resample whole rounds.

Timed are ready tensors; decoding and preprocessing are measured apart. A pair is one image and one text,
one after the other.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from compressor.benchmark.statistics import median_interval, timing
from compressor.benchmark.throughput import preprocess_times, sweep
from compressor.errors import DataError
from compressor.recipe.outcome import BenchmarkSection
from compressor.report.results import Interval, Latency, RoleTimings
from compressor.runtime.schema import Runtime

Clock = Callable[[], int]
"""Nanoseconds, monotonic."""
Progress = Callable[[int, int], None]

_INPUTS = 32


class TimedBundle(Protocol):
    """What timing needs of a bundle (`compressor.runtime.bundle.Bundle` is one)."""

    @property
    def preprocessor(self) -> Any: ...

    @property
    def providers(self) -> tuple[str, ...]: ...

    @property
    def threads(self) -> int: ...

    def run_images(self, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]: ...

    def run_texts(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]: ...


@dataclass(frozen=True)
class Comparison:
    """`latency` for results.json; `artifacts` per precision of the student: `image` and `text` p50 in
    milliseconds of batch-one calls; of one image and one text, the `ratio` to fp32 (median of the rounds' own
    ratios), its `ratio_interval`, and `slower_than_fp32`."""

    latency: Latency
    artifacts: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Calls:
    """Times of single calls in milliseconds, (rounds, repeats) per tower."""

    image: npt.NDArray[np.float64]
    text: npt.NDArray[np.float64]

    @property
    def pair(self) -> npt.NDArray[np.float64]:
        return self.image + self.text


def compare_latency(
    models: Mapping[str, TimedBundle],
    images: Sequence[bytes | Image.Image],
    texts: Sequence[str],
    section: BenchmarkSection,
    progress: Progress | None = None,
    artifacts: Mapping[str, TimedBundle] | None = None,
    precision: str = "fp32",
    backend: Runtime = "onnxruntime",
    seed: int = 0,
    clock: Clock = time.perf_counter_ns,
) -> Comparison:
    """Time `models` ("student" at `precision` in `backend`, and "teacher" at fp32 where one can run) and the
    student's other `artifacts`.

    All bundles must have been opened with `section.threads`. `images` and `texts` are real samples; they
    are preprocessed before the clock starts, and calls cycle through them. Garbage collection is off while
    the clock runs. Raises `DataError` without an image or a text.
    """
    if not images or not texts:
        raise DataError("a benchmark needs at least one image and one text")
    _check_threads({**models, **(artifacts or {})}, section.threads)
    provider = _provider(models, backend)
    others = {f"artifact:{name}": bundle for name, bundle in (artifacts or {}).items()}
    runners = {name: _Runner(bundle, images, texts) for name, bundle in {**models, **others}.items()}
    roles = [name for name in ("teacher", "student") if name in models]
    sizes = [size for size in section.batch_sizes if size >= 1]
    total = section.rounds + len(roles) * 2 * len(sizes) + 1
    tell = progress or (lambda done, total: None)
    calls = time_rounds(runners, section, lambda done: tell(done, total), clock)
    with no_collection():
        batches = sweep(
            {role: runners[role] for role in roles},
            sizes,
            section.repeats,
            lambda done: tell(section.rounds + done, total),
            clock,
        )
        preprocess = preprocess_times(
            {role: models[role].preprocessor for role in roles}, images, texts, clock
        )
    tell(total, total)
    latency = _latency({role: calls[role] for role in roles}, section, provider, seed)
    measured = {"precision": precision, "backend": backend, "batches": batches, "preprocess": preprocess}
    latency = latency.model_copy(update=measured)
    named = {precision: calls["student"]} if "student" in models else {}
    named |= {name.removeprefix("artifact:"): calls[name] for name in others}
    return Comparison(latency, _artifact_figures(named, seed))


def compare_artifacts(
    artifacts: Mapping[str, TimedBundle],
    images: Sequence[bytes | Image.Image],
    texts: Sequence[str],
    section: BenchmarkSection,
    progress: Progress | None = None,
    seed: int = 0,
    clock: Clock = time.perf_counter_ns,
) -> dict[str, dict[str, Any]]:
    """Time precisions of one model against each other, `fp32` among them: as `Comparison.artifacts`.

    Inputs and errors as in `compare_latency`.
    """
    if not images or not texts:
        raise DataError("a benchmark needs at least one image and one text")
    _check_threads(artifacts, section.threads)
    runners = {name: _Runner(bundle, images, texts) for name, bundle in artifacts.items()}
    tell = progress or (lambda done, total: None)
    calls = time_rounds(runners, section, lambda done: tell(done, section.rounds), clock)
    return _artifact_figures(calls, seed)


def time_rounds(
    runners: Mapping[str, _Runner], section: BenchmarkSection, told: Callable[[int], None], clock: Clock
) -> dict[str, Calls]:
    """Warm every model up, then time `section.repeats` pairs of calls of each in each of `section.rounds`
    rounds."""
    shape = (section.rounds, section.repeats)
    taken = {name: Calls(np.zeros(shape), np.zeros(shape)) for name in runners}
    for runner in runners.values():
        for k in range(section.warmup):
            runner.image(k)
            runner.text(k)
    for number in range(section.rounds):
        with no_collection():
            for name in order_of_round(list(runners), number):
                calls, runner = taken[name], runners[name]
                for repeat in range(section.repeats):
                    k = number * section.repeats + repeat
                    start = clock()
                    runner.image(k)
                    middle = clock()
                    runner.text(k)
                    end = clock()
                    calls.image[number, repeat] = (middle - start) / 1e6
                    calls.text[number, repeat] = (end - middle) / 1e6
        told(number + 1)
    return taken


def order_of_round(names: list[str], number: int) -> list[str]:
    """Who goes when: rounds 2k and 2k+1 mirror each other and the start moves on by one every second round.

    With two models this is ABBA, BAAB: a steady drift cancels, and neither always follows the other.
    """
    shift = (number // 2) % len(names)
    order = names[shift:] + names[:shift]
    return order[::-1] if number % 2 else order


class _Runner:
    """A bundle with ready inputs, one tensor a call."""

    def __init__(
        self, bundle: TimedBundle, images: Sequence[bytes | Image.Image], texts: Sequence[str]
    ) -> None:
        self.bundle = bundle
        self.pixels = bundle.preprocessor.images(list(images[:_INPUTS]))
        self.ids = bundle.preprocessor.texts(list(texts[:_INPUTS]))

    def image(self, k: int, batch: int = 1) -> None:
        self.bundle.run_images(_take(self.pixels, k, batch))

    def text(self, k: int, batch: int = 1) -> None:
        self.bundle.run_texts(_take(self.ids, k, batch))


def _take(ready: npt.NDArray[Any], k: int, batch: int) -> npt.NDArray[Any]:
    if batch == 1:
        place = k % len(ready)
        return ready[place : place + 1]
    return np.ascontiguousarray(ready[np.arange(k, k + batch) % len(ready)])


def _latency(calls: dict[str, Calls], section: BenchmarkSection, provider: str, seed: int) -> Latency:
    towers = {
        tower: RoleTimings(**{role: timing(getattr(taken, tower), seed) for role, taken in calls.items()})
        for tower in ("image", "text", "pair")
    }
    ratio: float | None = None
    interval: Interval | None = None
    if "teacher" in calls and "student" in calls:
        per_round = np.median(calls["student"].pair, axis=1) / np.median(calls["teacher"].pair, axis=1)
        ratio, interval = float(np.median(per_round)), median_interval(per_round[:, None], seed)
    return Latency(
        provider=provider, threads=section.threads, p50_ratio=ratio, p50_ratio_interval=interval, **towers
    )


def _artifact_figures(calls: dict[str, Calls], seed: int) -> dict[str, dict[str, Any]]:
    """A precision is slower than fp32 when its pair takes longer in the median of the rounds' own ratios."""
    figures: dict[str, dict[str, Any]] = {}
    for name, taken in calls.items():
        found = figures[name] = {
            "image": float(np.median(taken.image)),
            "text": float(np.median(taken.text)),
            "slower_than_fp32": False,
        }
        if "fp32" in calls:
            per_round = np.median(taken.pair, axis=1) / np.median(calls["fp32"].pair, axis=1)
            ratio, interval = float(np.median(per_round)), median_interval(per_round[:, None], seed)
            found |= {"ratio": ratio, "ratio_interval": interval.model_dump(mode="json")}
            found["slower_than_fp32"] = ratio > 1
    return figures


def _provider(models: Mapping[str, TimedBundle], backend: Runtime) -> str:
    """The execution provider that the student runs on. In ONNX Runtime it must be the teacher's: unlike is
    not compared with unlike. A student that is meant for another runtime is timed there, as are its other
    artifacts."""
    found = {bundle.providers[0] for bundle in models.values()}
    if len(found) > 1 and backend == "onnxruntime":
        raise DataError(f"models on different backends ({', '.join(sorted(found))}) cannot be compared")
    return models["student" if "student" in models else "teacher"].providers[0]


def _check_threads(models: Mapping[str, TimedBundle], threads: int) -> None:
    for name, bundle in models.items():
        if bundle.threads != threads:
            raise DataError(
                f"the {name} was opened with {bundle.threads} threads, the benchmark wants {threads}"
            )


@contextmanager
def no_collection() -> Iterator[None]:
    """Garbage is collected before, not while, the clock runs."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
