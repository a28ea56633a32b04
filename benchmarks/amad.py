"""Time and memory of the attention-map losses, forward and backward, beside their definition written out.

python benchmarks/amad.py --threads 2

The transcription is what one writes from the paper: normalise, multiply, softmax, mix, normalise, mean, and
autograd for the rest. Times: both are called in turn within a round, so whatever slows the machine down meets
both, and the ratio of a round means more than its times. Memory: what a process that holds nothing but the
two inputs needs on top of them at its worst moment, the student's gradient included. On a CPU that is the
peak of the resident set (VmHWM, hence Linux) in a fresh process for each figure, which counts the leavings of
the allocator and the buffers of the libraries as well; on CUDA it is the peak of the allocator.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from compressor.losses.amad import Variant, amad_loss
from compressor.report import numbers

Loss = Callable[[Tensor, Tensor], Tensor]
VARIANTS: tuple[Variant, ...] = ("mse", "kl", "token")


@dataclass(frozen=True)
class Shape:
    batch: int
    teacher_heads: int
    student_heads: int
    tokens: int

    def __str__(self) -> str:
        return f"{self.batch}, {self.teacher_heads}>{self.student_heads}, {self.tokens}"

    def maps(self, device: str) -> tuple[Tensor, Tensor]:
        """Teacher and student maps, made sample by sample so that making them leaves no peak behind."""
        generator = torch.Generator().manual_seed(0)
        made = []
        for heads in (self.teacher_heads, self.student_heads):
            maps = torch.empty(self.batch, heads, self.tokens, self.tokens)
            for sample in maps:
                sample.normal_(generator=generator).mul_(2)
                sample.copy_(sample.softmax(dim=-1))
            made.append(maps.to(device))
        return made[0], made[1]


SHAPES = (Shape(16, 16, 12, 197), Shape(64, 12, 6, 50))


def transcribed(teacher: Tensor, student: Tensor, variant: Variant) -> Tensor:
    """The definition, in the order in which the paper gives it."""
    if variant == "mse":
        target, heads = (F.normalize(maps.flatten(2), dim=-1) for maps in (teacher, student))
        weights = (target @ heads.mT).softmax(dim=-1)
        return F.mse_loss(F.normalize(weights @ heads, dim=-1), target)
    if variant == "kl":
        target, heads = (F.normalize(maps.flatten(2), p=1, dim=-1) for maps in (teacher, student))
        weights = (target @ heads.mT).softmax(dim=-1)
        target, mixed = target.view_as(teacher), (weights @ heads).view_as(teacher)
    else:
        target, heads = (F.normalize(maps.transpose(1, 2), p=1, dim=-1) for maps in (teacher, student))
        weights = (target @ heads.mT).softmax(dim=-1)
        mixed = weights @ heads
    target = F.normalize(target, p=1, dim=-1) + 1e-7
    mixed = F.normalize(mixed, p=1, dim=-1) + 1e-7
    return (target * (target.log() - mixed.log())).mean()


def loss_of(variant: Variant, ours: bool) -> Loss:
    return partial(amad_loss if ours else transcribed, variant=variant)


def milliseconds(loss: Loss, teacher: Tensor, student: Tensor) -> float:
    """One forward and backward pass."""
    student = student.detach().requires_grad_()
    synchronize(student)
    start = time.perf_counter()
    loss(teacher, student).backward()
    synchronize(student)
    return 1000 * (time.perf_counter() - start)


def synchronize(tensor: Tensor) -> None:
    """Wait for the accelerator, if there is one."""
    if tensor.device.type == "cuda":
        torch.cuda.synchronize(tensor.device)


def megabytes(shape: Shape, variant: Variant, ours: bool, threads: int, device: str) -> float:
    """Memory on top of the inputs at the worst moment of a forward and a backward pass."""
    torch.set_num_threads(threads)
    loss = loss_of(variant, ours)
    milliseconds(loss, *Shape(2, 2, 2, 4).maps(device))  # loads what is loaded on first use
    teacher, student = shape.maps(device)
    if device == "cpu":
        before = resident("VmRSS")
        milliseconds(loss, teacher, student)
        return (resident("VmHWM") - before) / 1e6
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    milliseconds(loss, teacher, student)
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def resident(entry: str) -> int:
    """Bytes of this process in memory: now (VmRSS) or at most so far (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(entry))


def main(
    rounds: Annotated[int, typer.Option(min=3, help="Measured rounds.")] = 9,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
) -> None:
    """Print a table of times, memory and ratios."""
    torch.set_num_threads(threads)
    table = Table(title=f"forward + backward, {device}, {numbers.threads(threads)}")
    columns = (
        "batch, heads, tokens",
        "variant",
        "ms",
        "transcription ms",
        "faster",
        "middle half",
        "MB",
        "transcription MB",
        "MB ratio",
    )
    for column in columns:
        table.add_column(column, justify="left" if column in ("batch, heads, tokens", "variant") else "right")
    for shape in SHAPES:
        for variant in VARIANTS:
            memory = [in_fresh_process(shape, variant, ours, threads, device) for ours in (True, False)]
            table.add_row(str(shape), variant, *timed(shape, variant, rounds, device), *remembered(*memory))
    Console().print(table)


def timed(shape: Shape, variant: Variant, rounds: int, device: str) -> tuple[str, ...]:
    """Median times, and the ratio of the rounds with its middle half."""
    teacher, student = shape.maps(device)
    ours, plain = loss_of(variant, True), loss_of(variant, False)
    measured = []
    for turn in range(rounds + 2):
        order = (ours, plain) if turn % 2 else (plain, ours)
        first, second = (milliseconds(loss, teacher, student) for loss in order)
        if turn >= 2:  # the first two rounds warm up
            measured.append((first, second) if turn % 2 else (second, first))
    low, middle, high = statistics.quantiles([plain_ms / ours_ms for ours_ms, plain_ms in measured], n=4)
    ours_ms, plain_ms = (statistics.median(column) for column in zip(*measured, strict=True))
    return f"{ours_ms:.1f}", f"{plain_ms:.1f}", f"{middle:.2f}x", f"{low:.2f} to {high:.2f}"


def in_fresh_process(shape: Shape, variant: Variant, ours: bool, threads: int, device: str) -> float:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(megabytes, (shape, variant, ours, threads, device))


def remembered(ours: float, plain: float) -> tuple[str, ...]:
    return f"{ours:.0f}", f"{plain:.0f}", f"{ours / plain:.2f}"


if __name__ == "__main__":
    typer.run(main)
