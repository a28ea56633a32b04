"""Quality against latency, point by point: the models of a run and the precisions of its student."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from compressor.report.results import (
    ArtifactFigures,
    CaptionQuality,
    GenerationLatency,
    Interval,
    ModelQuality,
    Results,
    VQAQuality,
    WriterArtifactFigures,
)

OF_CAPTIONS = ("cider", "bleu_4", "rouge_l")
"""What stands for the quality of captions: the first of them that there is."""
Measured = tuple[str, float, Interval | None]
Cost = tuple[float | None, Interval | None, int | None]


@dataclass(frozen=True)
class Point:
    """One model, or one precision of the student.

    `measure` says what `quality` is. Of a model, on the run's split: `rsum`, `cider`, `bleu_4`, `rouge_l` or
    `vqa_accuracy`. Of a precision: `recall_delta`, the points of recall that it won or lost on validation, or
    `equal_beams`, the share of texts that are as PyTorch writes them. `latency_ms` is the median for one
    picture and one text, or for one text written; None for a teacher that could not be run.
    """

    name: str
    role: str
    precision: str
    measure: str
    quality: float
    quality_interval: Interval | None
    latency_ms: float | None
    latency_interval: Interval | None
    bytes: int | None

    def beats(self, other: Point) -> bool:
        """No worse in quality, latency and size, and better in one of them."""
        if self.measure != other.measure or self.latency_ms is None or other.latency_ms is None:
            return False
        ours = (self.quality, -self.latency_ms, -(self.bytes or 0))
        theirs = (other.quality, -other.latency_ms, -(other.bytes or 0))
        return ours != theirs and all(a >= b for a, b in zip(ours, theirs, strict=True))


def points_of(run: Results) -> list[Point]:
    """All points of a run. A rehearsal has none: the quality of random weights says nothing."""
    return [] if run.rehearsal else [*_models(run), *_precisions(run)]


def measured(quality: ModelQuality | CaptionQuality | VQAQuality) -> Measured | None:
    """The figure that stands for the quality of a model, its name and interval."""
    if isinstance(quality, ModelQuality):
        return "rsum", quality.rsum, quality.rsum_interval
    if isinstance(quality, VQAQuality):
        return "vqa_accuracy", quality.vqa_accuracy, quality.vqa_accuracy_interval
    for name in OF_CAPTIONS:
        if (value := getattr(quality, name)) is not None:
            return name, value, quality.intervals.get(name)
    return None


def _models(run: Results) -> Iterator[Point]:
    for role, quality in run.quality.items():
        found = None if quality is None else measured(quality)
        if found is None:
            continue
        if isinstance(quality, ModelQuality):
            precision = quality.precision
        else:
            precision = run.latency.precision if run.latency and role == "student" else "fp32"
        yield Point(role, role, precision, *found, *_cost(run, role, precision))


def _cost(run: Results, role: str, precision: str) -> Cost:
    """Latency and size of a model at a precision. The control is the student's network, so it takes the
    student's; figures of another precision are never shown in place of those that are missing."""
    if role == "teacher":
        timing = _timings(run).teacher if run.latency else None
        size = run.size.teacher
    else:
        timed = run.latency is not None and run.latency.precision == precision
        timing = _timings(run).student if timed else None
        sized = run.size.student is not None and run.size.student.precision == precision
        size = run.size.student if sized else None
    latency, interval = (timing.p50_ms, timing.p50_interval) if timing else (None, None)
    held = size.bytes if size else None
    artifact = run.artifacts.get(precision)
    if role != "teacher" and artifact is not None and (latency is None or held is None):
        of_artifact, bytes_ = _artifact_cost(artifact)
        latency, held = latency if latency is not None else of_artifact, held if held is not None else bytes_
    return latency, interval, held


def _timings(run: Results) -> Any:
    latency = run.latency
    return latency.generation if isinstance(latency, GenerationLatency) else getattr(latency, "pair", None)


def _artifact_cost(artifact: ArtifactFigures | WriterArtifactFigures) -> tuple[float | None, int]:
    if isinstance(artifact, WriterArtifactFigures):
        return artifact.p50_ms, sum(graph.bytes for graph in artifact.graphs.values())
    image, text = artifact.image, artifact.text
    known = image.p50_ms is not None and text.p50_ms is not None
    return (image.p50_ms + text.p50_ms if known else None), image.bytes + text.bytes  # type: ignore[operator]


def _precisions(run: Results) -> Iterator[Point]:
    """Those that passed their gate and were timed."""
    for name, artifact in run.artifacts.items():
        latency, held = _artifact_cost(artifact)
        if isinstance(artifact, ArtifactFigures):
            measure, quality, interval = (
                "recall_delta",
                artifact.recall_delta,
                artifact.recall_delta_interval,
            )
        else:
            measure, quality, interval = "equal_beams", artifact.equal_beams, None
        if artifact.status == "passed" and quality is not None and latency is not None:
            yield Point(name, "student", name, measure, quality, interval, latency, None, held)
