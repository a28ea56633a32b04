"""Stage `benchmark`: latency of teacher and student, interleaved with the same threads.

The student is timed at the precision with which its bundle opens, the one that was evaluated, and in that
artifact's runtime; the teacher at fp32.
"""

from __future__ import annotations

from typing import Any

from PIL import Image

from compressor.benchmark.device import device_fingerprint, device_key
from compressor.data.pairs import PairSet
from compressor.errors import BadImageError
from compressor.files import write_json
from compressor.pipeline.context import Context
from compressor.pipeline.stage import Outcome, Stage
from compressor.report.numbers import at, threads


def about(context: Context) -> str:
    section = context.recipe.benchmark
    against = (
        "student against teacher"
        if context.teacher_has_bundle
        else "the student alone (there is no teacher to time)"
    )
    return f"{against}, {threads(section.threads)}, {section.rounds} interleaved rounds"


def inputs(context: Context) -> dict[str, Any]:
    return {"benchmark": context.recipe.benchmark.model_dump(mode="json"), "device": device_key()}


def run(context: Context, key: str) -> Outcome:
    from compressor.benchmark.latency import compare_latency
    from compressor.runtime.bundle import Bundle

    section, folder = context.recipe.benchmark, context.folder
    student = Bundle.open(folder.bundle, threads=section.threads)
    models = {"student": student}
    if context.teacher_has_bundle:
        models["teacher"] = Bundle.open(
            folder.bundle_of("teacher"), precision="fp32", threads=section.threads
        )
    others = {
        name: Bundle.open(folder.bundle, precision=name, threads=section.threads)
        for name, artifact in student.manifest.artifacts.items()
        if name != student.precision and artifact.status == "passed"
    }
    pairs = context.pairs(context.recipe.evaluate.split)
    kept = context.recipe.benchmark.batch_sizes
    images, texts = first_samples(pairs, max(kept))
    comparison = compare_latency(
        models,
        images,
        texts,
        section,
        context.progress("timing"),
        artifacts=others,
        precision=student.precision,
        backend=student.artifact.runtime,
    )
    facts = {
        "latency": comparison.latency.model_dump(mode="json"),
        "artifacts": comparison.artifacts,
        "device": device_fingerprint(),
    }
    write_json(folder.benchmark, facts)
    pair = comparison.latency.pair
    shown = [
        f"{role} {timing.p50_ms:.2f} ms"
        for role, timing in (("teacher", pair.teacher), (f"student{at(student.precision)}", pair.student))
        if timing
    ]
    ratio = comparison.latency.p50_ratio
    summary = (
        "one image and one text: " + ", ".join(shown) + (f", ratio {ratio:.3f}" if ratio is not None else "")
    )
    return Outcome([folder.benchmark], summary, {})


def first_samples(pairs: PairSet, count: int) -> tuple[list[Image.Image], list[str]]:
    """The first `count` pictures that decode, and their captions; evaluation has counted the others."""
    images: list[Image.Image] = []
    texts: list[str] = []
    for number, row in enumerate(pairs.rows):
        if len(images) == count:
            break
        try:
            images.append(pairs.image(number))
        except BadImageError:
            continue
        texts += row.captions
    return images, texts


STAGE = Stage("benchmark", ("export",), about, inputs, run)
