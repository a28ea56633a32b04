"""Training images per second with stored teacher signals beside a live teacher of full size.

python -m benchmarks.signals --recipe flickr30k_retrieval --batch 8 --steps 2 --rounds 2

Student, teacher, losses and picture sizes are the recipe's; the teacher's weights are random where the real
ones are not there, which changes no time. The pictures are a few scenes, since speed does not depend on what
they show. Stored and live trainings take turns within a round. The store's own building is timed too: it pays
itself back after as many epochs as the last line says. ViT-L/14 needs about 4 GB of memory here, and half a
minute for eight pictures on one CPU core.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from compressor.data.decoded import DecodedImages
from compressor.data.loader import TrainingSet
from compressor.data.scenes import ScenesPairs
from compressor.distill.processes import process_state
from compressor.distill.progress import ProgressEvent
from compressor.distill.signals import LiveSignals, Signals, StoredSignals
from compressor.distill.store import TeacherStore
from compressor.distill.trainer import TrainingJob, train
from compressor.recipe import Recipe
from compressor.recipe.data import ScenesData
from compressor.recipe.load import load_recipe
from compressor.recipe.training import Augmentation, DistillSection
from compressor.students.build import build_student, build_tokenizer
from compressor.students.encoder import Model
from compressor.teachers.load import load_teacher

WARMUP = 1


class Bench:
    """Student, teacher, a few scenes and the teacher's store in a temporary folder."""

    def __init__(self, recipe: Recipe, folder: Path, batch: int, steps: int) -> None:
        if recipe.teacher is None:
            raise typer.BadParameter(f"the recipe '{recipe.name}' has no teacher")
        self.recipe, self.folder = recipe, folder
        self.teacher = load_teacher(recipe.teacher, rehearse=True)
        side = max(recipe.student.image.input.size, self.teacher.preprocessor.image.size)
        pairs = ScenesPairs(ScenesData(kind="scenes", image_size=side, train=batch), "train")
        captions = [caption for row in pairs.rows for caption in row.captions]
        self.tokens = build_tokenizer(recipe.student.tokenizer, captions, recipe.student.text.context_length)
        student = self.student()
        decoded = DecodedImages.build(pairs, side, folder / "decoded")
        preprocessors = (student.preprocessor, self.teacher.preprocessor)
        self.rows = TrainingSet(pairs, decoded, preprocessors[0], Augmentation(), 0)
        self.live_rows = TrainingSet(pairs, decoded, preprocessors[0], Augmentation(), 0, preprocessors[1:])
        self.section = DistillSection.model_validate(
            recipe.distill.model_dump()
            | {"steps": steps + WARMUP, "epochs": None, "batch_size": batch, "micro_batch_size": None}
            | {"augmentation": Augmentation(), "trackers": (), "precision": "no"}
        )
        started = time.perf_counter()
        self.store = TeacherStore.build(folder / "store", self.teacher, self.rows, [0], batch)
        self.build_seconds = time.perf_counter() - started

    def student(self) -> Model:
        """A fresh student."""
        torch.manual_seed(0)
        return build_student(self.recipe.student, *self.tokens)

    def speed(self, live: bool) -> float:
        """Training images per second, the median step without the first."""
        times: list[float] = []

        def tick(event: ProgressEvent) -> None:
            times.append(time.perf_counter())

        signals: Signals = StoredSignals(self.store, self.rows)
        if live:
            signals = LiveSignals(self.teacher, self.live_rows, batch_size=self.section.batch_size)
        job = TrainingJob(
            model=self.student(),
            training_set=self.live_rows if live else self.rows,
            signals=signals,
            losses=self.section.losses,
            balancer=self.section.balancer,
            section=self.section,
            seed=0,
            folder=Path(tempfile.mkdtemp(dir=self.folder)),
            progress=tick,
        )
        train(job)
        steps = [after - before for before, after in pairwise(times)]
        return self.section.batch_size / statistics.median(steps)


def main(
    recipe: Annotated[
        str, typer.Option(help="A recipe's file, or the name of a shipped one.")
    ] = "flickr30k_retrieval",
    batch: Annotated[int, typer.Option(help="Pairs per step, and pictures in all.")] = 8,
    steps: Annotated[int, typer.Option(help="Timed steps of each kind in a round.")] = 2,
    rounds: Annotated[int, typer.Option(help="Rounds.")] = 2,
) -> None:
    """Measure and print a table; the last line has the median ratio and the break-even."""
    console = Console()
    table = Table("round", "live images/s", "stored images/s", "stored / live")
    results: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(load_recipe(recipe).recipe, Path(temporary), batch, steps)
        for number in range(rounds):
            live, stored = bench.speed(live=True), bench.speed(live=False)
            results.append((live, stored))
            table.add_row(str(number + 1), f"{live:.3f}", f"{stored:.2f}", f"{stored / live:.1f}")
        console.print(table)
        live, stored = (statistics.median(column) for column in zip(*results, strict=True))
        saved = batch / live - batch / stored
        console.print(
            f"{recipe}: {bench.teacher.name} teaches {bench.student().name}, batch {batch}, "
            f"{torch.get_num_threads()} threads, {process_state().device}: stored / live "
            f"{stored / live:.1f}; building the store took {bench.build_seconds:.1f} s for {batch} images "
            f"and {bench.store.text_rows} captions and pays back after "
            f"{bench.build_seconds / saved:.1f} epochs"
        )


if __name__ == "__main__":
    typer.run(main)
