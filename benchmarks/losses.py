"""Time of each loss, forward and backward, beside the shortest transcription of its formula.

python benchmarks/losses.py --batch 256 --dim 512 --queue 8192

Both are called in turn within a round, so whatever slows the machine down meets both: the ratio of a round
means more than its times. The transcriptions take unit rows for granted and mask nothing; the price of
normalising, masking and checking is what the ratio shows.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from compressor.losses import contrastive_loss, feature_loss, hard_negative_loss, similarity_loss, task_loss
from compressor.report import numbers

Loss = Callable[[Tensor, Tensor], Tensor]


def plain_contrastive(student: Tensor, teacher: Tensor, negatives: Tensor) -> Tensor:
    positive = (student * teacher).sum(1, keepdim=True)
    logits = torch.cat([positive, student @ negatives.T], 1) / 0.05
    return F.cross_entropy(logits, torch.zeros(len(student), dtype=torch.long, device=student.device))


def plain_in_batch(student: Tensor, teacher: Tensor) -> Tensor:
    return F.cross_entropy(student @ teacher.T / 0.05, torch.arange(len(student), device=student.device))


def plain_hard_negative(student: Tensor, teacher: Tensor) -> Tensor:
    cosines = student @ teacher.T
    own = cosines.diagonal()
    others = torch.eye(len(student), device=student.device) * -4 + cosines
    rows, columns = others.max(1).values - own, others.max(0).values - own
    return ((0.05 + rows).relu() + (0.05 + columns).relu()).mean()


def plain_task(image: Tensor, text: Tensor) -> Tensor:
    logits = 14.0 * image @ text.T
    labels = torch.arange(len(image), device=image.device)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def pairs_of(negatives: Tensor, own: Tensor) -> dict[str, tuple[Loss, Loss]]:
    """Each loss of the package with its transcription; `own` masks what a queue of all samples must mask."""
    return {
        "contrastive, queue": (
            lambda s, t: contrastive_loss(s, t, negatives=negatives),
            lambda s, t: plain_contrastive(s, t, negatives),
        ),
        "contrastive, queue, masked": (
            lambda s, t: contrastive_loss(s, t, negatives=negatives, negative_mask=own),
            lambda s, t: plain_contrastive(s, t, negatives),
        ),
        "contrastive, batch": (contrastive_loss, plain_in_batch),
        "feature l1": (feature_loss, lambda s, t: (s - t).abs().mean()),
        "similarity": (similarity_loss, lambda s, t: ((1 - (s * t).sum(1)) / 2).mean()),
        "hard_negative": (hard_negative_loss, plain_hard_negative),
        "task": (lambda s, t: task_loss(s, t, 14.0), plain_task),
    }


def milliseconds(loss: Loss, student: Tensor, teacher: Tensor) -> float:
    """One forward and backward pass."""
    student = student.detach().requires_grad_()
    synchronize(student)
    start = time.perf_counter()
    loss(student, teacher).backward()
    synchronize(student)
    return 1000 * (time.perf_counter() - start)


def synchronize(tensor: Tensor) -> None:
    """Wait for the accelerator, if there is one."""
    if tensor.device.type == "cuda":
        torch.cuda.synchronize(tensor.device)


def main(
    batch: Annotated[int, typer.Option(min=2, help="Rows.")] = 256,
    dim: Annotated[int, typer.Option(min=1, help="Width of the embeddings.")] = 512,
    queue: Annotated[int, typer.Option(min=1, help="Negatives.")] = 8192,
    rounds: Annotated[int, typer.Option(min=3, help="Measured rounds.")] = 15,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
) -> None:
    """Print a table of times and ratios."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    student, teacher, negatives = (
        F.normalize(torch.randn(count, dim, generator=generator)).to(device)
        for count in (batch, batch, queue)
    )
    own = torch.arange(batch)[:, None] == torch.arange(queue)[None, :]
    pairs = pairs_of(negatives, own.to(device))
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in pairs}
    for turn in range(rounds + 2):
        for name, (ours, plain) in pairs.items():
            order = (ours, plain) if turn % 2 else (plain, ours)
            first, second = (milliseconds(loss, student, teacher) for loss in order)
            if turn >= 2:  # the first two rounds warm up
                times[name].append((first, second) if turn % 2 else (second, first))

    where = f"{device}, {numbers.threads(threads)}"
    table = Table(title=f"forward + backward, B={batch} D={dim} K={queue}, {where}")
    for column in ("loss", "ms", "transcription ms", "ratio", "ratio, middle half"):
        table.add_column(column, justify="left" if column == "loss" else "right")
    for name, measured in times.items():
        ratios = [ours / plain for ours, plain in measured]
        low, middle, high = statistics.quantiles(ratios, n=4)
        ours_ms, plain_ms = (statistics.median(column) for column in zip(*measured, strict=True))
        table.add_row(name, f"{ours_ms:.2f}", f"{plain_ms:.2f}", f"{middle:.2f}", f"{low:.2f} to {high:.2f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
