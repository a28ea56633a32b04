"""Images per second of the whole training loop beside bare forward and backward passes of the same student.

python -m benchmarks.loop --recipe flickr8k_retrieval --steps 20 --rounds 3

The student, the losses and the batch size are the recipe's, the pictures are scenes of the student's size.
Three things take turns, step by step, so that whatever slows the machine down meets them all:

- loop: batches from the warm decoded cache, stored teacher signals, losses, balancer, clipping, AdamW,
metrics; - bare: one forward and backward pass over a fixed, normalised batch, nothing else; - with losses:
the same pass through the recipe's losses with a full queue, because their matrix products are part
  of what the recipe asks for and not of what the loop costs.

Batches are made as the recipe says, by default in a background thread; `--workers 0` makes them in the loop's
own, which is the worst case. A round's figure is the median step.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from compressor.data.decoded import DecodedImages
from compressor.data.loader import TrainingSet, normalize_pixels
from compressor.data.scenes import ScenesPairs
from compressor.distill.processes import process_state
from compressor.distill.progress import ProgressEvent
from compressor.distill.signals import StoredSignals
from compressor.distill.store import TeacherStore
from compressor.distill.trainer import TrainingJob, train
from compressor.losses.batch import EmbeddingBatch
from compressor.losses.build import build_losses
from compressor.recipe import Recipe
from compressor.recipe.data import ScenesData
from compressor.recipe.load import load_recipe
from compressor.recipe.training import Augmentation, DistillSection
from compressor.students.build import build_student, build_tokenizer
from compressor.students.encoder import Model

Total = Callable[[Tensor, Tensor], Tensor]
WARMUP = 3
VIEWS = 2


class Bench:
    """A student, its data and its signals in a temporary folder."""

    def __init__(
        self, recipe: Recipe, folder: Path, batch: int | None, images: int, steps: int, workers: int | None
    ) -> None:
        size = recipe.student.image.input.size
        pairs = ScenesPairs(ScenesData(kind="scenes", image_size=size, train=images), "train")
        captions = (caption for row in pairs.rows for caption in row.captions)
        tokenizer, text = build_tokenizer(
            recipe.student.tokenizer, captions, recipe.student.text.context_length
        )
        torch.manual_seed(0)
        self.model = build_student(recipe.student, tokenizer, text)
        augmentation = Augmentation(horizontal_flip=0.5, views=VIEWS)
        self.section = DistillSection.model_validate(
            recipe.distill.model_dump()
            | {
                "steps": steps + WARMUP,
                "epochs": None,
                "augmentation": augmentation,
                "trackers": (),
                "workers": recipe.distill.workers if workers is None else workers,
            }
            | {"precision": "no", "micro_batch_size": None, "batch_size": batch or recipe.distill.batch_size}
        )
        self.steps = steps
        self.folder = folder
        decoded = DecodedImages.build(pairs, size, folder / "decoded")
        self.rows = TrainingSet(pairs, decoded, self.model.preprocessor, augmentation, 0)
        self.store = TeacherStore.build(folder / "store", self.model, self.rows, range(VIEWS))
        for epoch in range(VIEWS):  # from here on the decoded cache and the plain pixels are warm
            self.rows.batch(list(range(len(self.rows))), epoch)

    def round(self) -> tuple[float, float, float]:
        """Images per second of the loop, of bare passes and of passes with losses."""
        seconds: dict[str, list[float]] = {"loop": [], "bare": [], "losses": []}
        bare, with_losses = self._pass(lambda image, text: (image * text).sum()), self._pass(self._losses())
        since = time.perf_counter()

        def between_steps(event: ProgressEvent) -> None:
            nonlocal since
            _wait_for(process_state().device)
            seconds["loop"].append(time.perf_counter() - since)
            seconds["bare"].append(bare())
            seconds["losses"].append(with_losses())
            since = time.perf_counter()

        job = TrainingJob(
            model=self.model,
            training_set=self.rows,
            signals=StoredSignals(self.store, self.rows),
            losses=self.section.losses,
            balancer=self.section.balancer,
            section=self.section,
            seed=0,
            folder=Path(tempfile.mkdtemp(dir=self.folder)),
            progress=between_steps,
        )
        train(job)
        loop, alone, losses = (statistics.median(times[WARMUP:]) for times in seconds.values())
        size = self.section.batch_size
        return size / loop, size / alone, size / losses

    def _losses(self) -> Total:
        """The recipe's losses with a full queue and fixed teacher rows."""
        size, dim, device = self.section.batch_size, self.model.encoder.embed_dim, process_state().device
        losses = build_losses(self.section.losses, dim, dim).to(device)
        teacher = F.normalize(torch.randn(2, 8192, dim, device=device), dim=2)
        sample = torch.arange(8192, device=device)
        losses.update_queue(teacher[0], teacher[1], sample + size, torch.ones_like(sample, dtype=torch.bool))

        def total(image: Tensor, text: Tensor) -> Tensor:
            batch = EmbeddingBatch(
                student_image=image,
                student_text=text,
                teacher_image=teacher[0, :size],
                teacher_text=teacher[1, :size],
                sample=sample[:size],
                has_text=torch.ones(size, dtype=torch.bool, device=device),
                logit_scale=self.model.encoder.logit_scale,
            )
            return torch.stack(list(losses(batch).values())).sum()

        return total

    def _pass(self, total: Total) -> Callable[[], float]:
        """A function that runs one pass over a fixed batch and tells its seconds."""
        encoder, device = self.model.encoder, process_state().device
        assert isinstance(encoder, torch.nn.Module)
        batch = self.rows.batch(list(range(self.section.batch_size)), 0)
        pixels = normalize_pixels(batch.pixels.to(device), self.model.preprocessor.image)
        ids = batch.input_ids.to(device)

        def run() -> float:
            started = time.perf_counter()
            total(encoder.encode_image(pixels), encoder.encode_text(ids)).backward()
            _wait_for(device)
            seconds = time.perf_counter() - started
            encoder.zero_grad(set_to_none=True)
            return seconds

        return run


def _wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize()


def parameters(model: Model) -> float:
    """Millions of weights."""
    assert isinstance(model.encoder, torch.nn.Module)
    return sum(p.numel() for p in model.encoder.parameters()) / 1e6


def main(
    recipe: Annotated[
        str, typer.Option(help="A recipe's file, or the name of a shipped one.")
    ] = "quickstart",
    batch: Annotated[int | None, typer.Option(help="Pairs per step; default: the recipe's.")] = None,
    steps: Annotated[int, typer.Option(help="Timed steps of each kind in a round.")] = 20,
    rounds: Annotated[int, typer.Option(help="Rounds.")] = 3,
    images: Annotated[int, typer.Option(help="Training scenes; at least one batch.")] = 1024,
    workers: Annotated[
        int | None, typer.Option(help="Threads that prepare batches; default: the recipe's.")
    ] = None,
) -> None:
    """Measure and print a table; the last line has the median ratios."""
    console = Console()
    table = Table(
        "round", "loop images/s", "bare images/s", "with losses", "loop / bare", "loop / with losses"
    )
    ratios: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(load_recipe(recipe).recipe, Path(temporary), batch, images, steps, workers)
        for number in range(rounds):
            loop, bare, losses = bench.round()
            ratios.append((loop / bare, loop / losses))
            speeds = (f"{speed:.1f}" for speed in (loop, bare, losses))
            table.add_row(str(number + 1), *speeds, *(f"{ratio:.3f}" for ratio in ratios[-1]))
        console.print(table)
        medians = [statistics.median(column) for column in zip(*ratios, strict=True)]
        console.print(
            f"{recipe}: {bench.model.name}, {parameters(bench.model):.1f} M weights, batch "
            f"{bench.section.batch_size}, {torch.get_num_threads()} threads, {process_state().device}: "
            f"loop / bare {medians[0]:.3f}, loop / with losses {medians[1]:.3f}"
        )


if __name__ == "__main__":
    typer.run(main)
