"""Stage `benchmark` of a student that writes: one caption or answer, in PyTorch as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from compressor.benchmark.device import device_fingerprint, device_key
from compressor.errors import BadImageError, DataError
from compressor.files import write_json
from compressor.pipeline.context import Context
from compressor.pipeline.stage import Outcome, Stage
from compressor.runtime.schema import Role

if TYPE_CHECKING:
    from PIL import Image

_INPUTS = 16


def about(context: Context) -> str:
    section = context.recipe.benchmark
    rounds = f"{section.rounds} interleaved rounds"
    return f"student against teacher in PyTorch, {section.threads} thread(s), {rounds}"


def inputs(context: Context) -> dict[str, Any]:
    return {
        "benchmark": context.recipe.benchmark.model_dump(mode="json"),
        "generation": context.recipe.writing.model_dump(mode="json"),
        "device": device_key(),
    }


def run(context: Context, key: str) -> Outcome:
    from compressor.benchmark.generation import compare_generation

    names: list[Role] = ["teacher", "student"]
    with _threads(context.recipe.benchmark.threads):
        latency = compare_generation(
            {role: _call(context, role) for role in names},
            context.recipe.benchmark,
            context.recipe.writing,
            "CPU",
            context.progress("timing"),
            context.recipe.seed,
        )
    facts = {
        "latency": latency.model_dump(mode="json"),
        "size": {role: _size(context, role) for role in names},
        "device": device_fingerprint(),
    }
    write_json(context.folder.benchmark, facts)
    timings = latency.generation
    assert timings.teacher is not None
    assert timings.student is not None
    return Outcome(
        [context.folder.benchmark],
        f"one text in PyTorch: teacher {timings.teacher.p50_ms:.1f} ms, "
        f"student {timings.student.p50_ms:.1f} ms, ratio {latency.p50_ratio:.3f}",
        {},
    )


@contextmanager
def _threads(wanted: int) -> Iterator[None]:
    """PyTorch with so many threads inside the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _call(context: Context, role: Role) -> Callable[[int], None]:
    """One generation of a role on the CPU, of ready inputs in turn."""
    import torch
    from torch import nn

    model, writing = context.writers.trained(role), context.recipe.writing
    generator = model.generator
    assert isinstance(generator, nn.Module)
    generator.eval().to("cpu")
    images, questions = _inputs(context)
    pixels = torch.from_numpy(model.preprocessor.images(images))
    ids = torch.from_numpy(model.question_ids(questions)) if questions else None

    def call(number: int) -> None:
        k = number % len(pixels)
        generator.generate(
            pixels[k : k + 1],
            None if ids is None else ids[k : k + 1],
            beams=writing.beams,
            max_length=writing.max_length,
            min_length=writing.min_length,
        )

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


def _size(context: Context, role: Role) -> dict[str, int]:
    """Parameters, and the bytes of the fp32 weights as a checkpoint holds them."""
    from compressor.students.blip import BlipGenerator, stored_weights
    from compressor.students.dual_encoder import parameter_counts

    generator = context.writers.trained(role).generator
    assert isinstance(generator, BlipGenerator)
    counts = parameter_counts(generator)
    return {
        "parameters": counts["total"],
        "image_parameters": counts["image"],
        "text_parameters": counts["text"],
        "bytes": sum(each.numel() * each.element_size() for each in stored_weights(generator).values()),
    }


STAGE = Stage("benchmark", ("teacher", "distill", "export"), about, inputs, run)
