"""Does a bundle write what transformers' `generate` writes, token for token? And what does each cost?

python -m benchmarks.generation_parity runs/quickstart_captioning --count 200

The PyTorch checkpoint of a run and its fp32 bundle caption drawn scenes, or answer questions about them,
greedily and with beams. Both read the same pixels and tokens, in the same batches, in turns, with the same
number of threads, so whatever slows the machine down meets both: ratios mean more than times. Times are those
of a text, the median over the batches. A run without a bundle, or a checkpoint folder alone, is exported for
the purpose. Nothing is trained.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from compressor.data import PairSet, open_pairs
from compressor.errors import CompressorError
from compressor.export.writer_bundle import write_writer_bundle
from compressor.export.writer_reference import texts_of
from compressor.export.writer_samples import WriterSamples
from compressor.pipeline.folder import RunFolder
from compressor.recipe.data import ScenesData, ScenesQuestionsData
from compressor.recipe.outcome import ExportSection
from compressor.report import numbers
from compressor.runtime import Writer
from compressor.runtime.schema import Role
from compressor.students.blip_checkpoint import load_blip_checkpoint
from compressor.students.generator import GenerativeModel

_PER_SCENE = 5
"""Questions about one scene."""
_COMPARED = 16
"""Samples on which the graphs are compared where the benchmark has to export them."""
_SHOWN = 3
"""Texts that differ are printed up to so many."""

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Inputs:
    """What both sides read: pixels (N, 3, H, W) and, of a model that answers, question ids (N, M)."""

    pixels: NDArray[np.float32]
    questions: Ids | None

    def batches(self, size: int) -> Iterator[Inputs]:
        """In their order, the last one smaller."""
        for start in range(0, len(self.pixels), size):
            rows = slice(start, start + size)
            yield Inputs(self.pixels[rows], None if self.questions is None else self.questions[rows])


@dataclass
class Figures:
    """What one way to search gave: texts without padding, and of every batch the seconds a text took."""

    ours: list[list[int]] = field(default_factory=list)
    theirs: list[list[int]] = field(default_factory=list)
    our_seconds: list[float] = field(default_factory=list)
    their_seconds: list[float] = field(default_factory=list)

    @property
    def differing(self) -> list[int]:
        """Which texts are not the same."""
        return [k for k, (a, b) in enumerate(zip(self.ours, self.theirs, strict=True)) if a != b]

    @property
    def ratio(self) -> float:
        """Median over the batches of the runtime's time, as a share of PyTorch's."""
        return statistics.median(a / b for a, b in zip(self.our_seconds, self.their_seconds, strict=True))


def main(
    run: Annotated[Path, typer.Argument(help="A run folder, or the checkpoint folder of a BLIP.")],
    role: Annotated[str, typer.Option(help="student, teacher or control.")] = "student",
    count: Annotated[int, typer.Option(min=2, help="Texts to write.")] = 200,
    batch: Annotated[int, typer.Option(min=1)] = 8,
    beams: Annotated[int, typer.Option(min=2, help="Beams beside greedy search.")] = 3,
    max_length: Annotated[int, typer.Option(min=2)] = 20,
    min_length: Annotated[int, typer.Option(min=0)] = 0,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Write every text twice, and print how many are equal and what they took."""
    torch.set_num_threads(threads)
    try:
        model, bundle = _found(run, role)
        pairs = _scenes(model, count)
        with _opened(bundle, model, pairs, threads) as writer:
            inputs = _inputs(model, pairs, count)
            searches = {
                name: _compared(model, writer, inputs, batch, wanted, max_length, min_length)
                for name, wanted in (("greedy", 1), (f"{beams} beams", beams))
            }
    except CompressorError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from error
    title = f"{run.name}, {role}: batch {batch}, {numbers.threads(threads)}, at most {max_length} tokens"
    _show(title, searches, model)


def _found(run: Path, role: str) -> tuple[GenerativeModel, Path]:
    """The PyTorch model of a role, and where its bundle would be."""
    folder = RunFolder(run)
    known: dict[str, tuple[Role, Path]] = {
        "student": ("student", folder.checkpoint),
        "teacher": ("teacher", folder.tuned_teacher),
        "control": ("control", run / "control" / "checkpoint"),
    }
    if role not in known:
        raise typer.BadParameter(f"there is no role '{role}'; there are {', '.join(known)}")
    named, checkpoint = known[role]
    alone = role == "student" and not checkpoint.exists()
    return load_blip_checkpoint(run if alone else checkpoint), folder.bundle_of(named)


def _scenes(model: GenerativeModel, count: int) -> PairSet:
    side = min(max(model.preprocessor.image.size, 32), 512)
    if model.generator.head == "vqa":
        scenes = -(-count // _PER_SCENE)
        return open_pairs(
            ScenesQuestionsData(kind="scenes_questions", image_size=side, test=scenes, per_scene=_PER_SCENE),
            "test",
        )
    return open_pairs(ScenesData(kind="scenes", image_size=side, test=count), "test")


@contextmanager
def _opened(bundle: Path, model: GenerativeModel, pairs: PairSet, threads: int) -> Iterator[Writer]:
    """The fp32 bundle of a run; where it has none, one that is made for the purpose and removed."""
    if (bundle / "bundle.json").is_file():
        yield Writer.open(bundle, "fp32", threads=threads)
        return
    with TemporaryDirectory() as scratch:
        folder = Path(scratch, "bundle")
        write_writer_bundle(
            model,
            folder,
            ExportSection(precisions=("fp32",)),
            role="student",
            samples=WriterSamples.of_pairs(pairs, range(len(pairs.rows)), model, _COMPARED),
            lineage={},
            judge_quality=False,  # the texts are compared here
        )
        yield Writer.open(folder, "fp32", threads=threads)


def _inputs(model: GenerativeModel, pairs: PairSet, count: int) -> Inputs:
    rows = range(len(pairs.rows))
    pixels = model.preprocessor.images([pairs.image(row) for row in rows])
    if model.generator.head == "caption":
        return Inputs(pixels, None)
    asked = [(row, question) for row in rows for question in pairs.rows[row].captions][:count]
    return Inputs(pixels[[row for row, _ in asked]], model.question_ids([question for _, question in asked]))


def _compared(
    model: GenerativeModel,
    writer: Writer,
    inputs: Inputs,
    batch: int,
    beams: int,
    max_length: int,
    min_length: int,
) -> Figures:
    """Every batch by both, in turns that change their order; the first is written once before the clock
    runs."""
    found = Figures()
    pad = model.generator.vocabulary.pad_id

    def by_torch(part: Inputs) -> Ids:
        questions = None if part.questions is None else torch.from_numpy(part.questions)
        ids: Ids = model.generator.generate(
            torch.from_numpy(part.pixels),
            questions,
            beams=beams,
            max_length=max_length,
            min_length=min_length,
        ).numpy()
        return ids

    def by_bundle(part: Inputs) -> Ids:
        return writer.generate(
            part.pixels, part.questions, beams=beams, max_length=max_length, min_length=min_length
        )

    sides = [(by_torch, found.theirs, found.their_seconds), (by_bundle, found.ours, found.our_seconds)]
    for number, part in enumerate(inputs.batches(batch)):
        for call, texts, seconds in sides[:: 1 if number % 2 else -1]:
            if number == 0:
                call(part)
            started = time.perf_counter()
            ids = call(part)
            seconds.append((time.perf_counter() - started) / len(ids))
            texts += texts_of(ids, pad)
    return found


def _show(title: str, searches: dict[str, Figures], model: GenerativeModel) -> None:
    console = Console()
    table = Table(
        "search", "texts", "equal", "different texts", "PyTorch", "bundle", "bundle to PyTorch", title=title
    )
    for name, found in searches.items():
        count = len(found.ours)
        sides = (found.their_seconds, found.our_seconds)
        milliseconds = (f"{1e3 * statistics.median(seconds):.2f} ms" for seconds in sides)
        kinds = len(set(map(tuple, found.ours)))
        table.add_row(
            name,
            str(count),
            str(count - len(found.differing)),
            str(kinds),
            *milliseconds,
            f"{found.ratio:.2f}",
        )
    console.print(table)
    for name, found in searches.items():
        for k in found.differing[:_SHOWN]:
            theirs, ours = (model.spell(torch.tensor([texts[k]]))[0] for texts in (found.theirs, found.ours))
            console.print(f"{name}, text {k}: PyTorch '{theirs}', bundle '{ours}'", markup=False)


if __name__ == "__main__":
    typer.run(main)
