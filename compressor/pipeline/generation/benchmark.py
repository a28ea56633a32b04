"""Stage `benchmark` of a student that writes: one caption or answer by the bundles of both models."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from compressor.benchmark.device import device_fingerprint, device_key
from compressor.errors import BadImageError, DataError
from compressor.files import write_json
from compressor.pipeline.context import Context
from compressor.pipeline.stage import Outcome, Stage
from compressor.report.numbers import threads
from compressor.runtime.schema import Role

if TYPE_CHECKING:
    from PIL import Image

    from compressor.runtime.writer import Writer

_INPUTS = 16


def about(context: Context) -> str:
    section = context.recipe.benchmark
    rounds = f"{section.rounds} interleaved rounds"
    return f"student against teacher, {threads(section.threads)}, {rounds}"


def inputs(context: Context) -> dict[str, Any]:
    return {
        "benchmark": context.recipe.benchmark.model_dump(mode="json"),
        "generation": context.recipe.writing.model_dump(mode="json"),
        "device": device_key(),
    }


def run(context: Context, key: str) -> Outcome:
    from compressor.benchmark.generation import compare_generation

    section = context.recipe.benchmark
    student = _open(context, "student", "fp32")
    writers = {"teacher": _open(context, "teacher", "fp32"), "student": student}
    writers |= {
        name: _open(context, "student", name)
        for name, artifact in student.manifest.artifacts.items()
        if name != "fp32" and artifact.status == "passed"
    }
    images, questions = _inputs(context)
    latency, artifacts = compare_generation(
        {name: _call(writer, images, questions) for name, writer in writers.items()},
        section,
        context.recipe.writing,
        student.providers[0],
        context.progress("timing"),
        context.recipe.seed,
    )
    facts = {
        "latency": latency.model_dump(mode="json"),
        "artifacts": artifacts,
        "device": device_fingerprint(),
    }
    write_json(context.folder.benchmark, facts)
    timings = latency.generation
    assert timings.teacher is not None
    assert timings.student is not None
    return Outcome(
        [context.folder.benchmark],
        f"one text: teacher {timings.teacher.p50_ms:.1f} ms, "
        f"student {timings.student.p50_ms:.1f} ms, ratio {latency.p50_ratio:.3f}",
        {},
    )


def _open(context: Context, role: Role, precision: str) -> Writer:
    from compressor.runtime.writer import Writer

    return Writer.open(
        context.folder.bundle_of(role), precision=precision, threads=context.recipe.benchmark.threads
    )


def _call(writer: Writer, images: list[Image.Image], questions: list[str]) -> Callable[[int], None]:
    """One text, of ready inputs in turn, as the bundle writes it."""
    pixels = writer.preprocessor.images(images)
    ids = writer.preprocessor.texts(questions) if questions else None

    def call(number: int) -> None:
        k = number % len(pixels)
        writer.generate(pixels[k : k + 1], None if ids is None else ids[k : k + 1])

    return call


def _inputs(context: Context) -> tuple[list[Image.Image], list[str]]:
    """The first pictures that decode, and a question about each where questions are asked."""
    pairs = context.pairs(context.recipe.evaluate.split)
    images: list[Image.Image] = []
    questions: list[str] = []
    for number, row in enumerate(pairs.rows):
        if len(images) == _INPUTS:
            break
        if not row.captions:
            continue
        try:
            images.append(pairs.image(number))
        except BadImageError:
            continue
        if context.recipe.head == "vqa":
            questions.append(row.captions[0])
    if not images:
        raise DataError(f"the {pairs.split} split has no usable picture to time a generation with")
    return images, questions


STAGE = Stage("benchmark", ("export",), about, inputs, run)
