"""A distillation step on last-layer attention maps: captured, and by the library's own `output_attentions`.

python benchmarks/capture.py --batch 4 --size 224

Teacher and student are the same transformers ViT-B/16 with weights of their own; the teacher runs without
gradients, the student is trained on its pooled output and, but for the `no maps` row, on the last maps. The
three steps are run in turn within a round, so whatever slows the machine down meets all of them: a round's
ratio (of `captured` to the step of the row) means more than its times. On a CPU, time is the process's own.
Memory is what tensors take on top of models and gradients, at its highest within a step. The maps of both
ways are compared first.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from transformers import ViTConfig, ViTModel

from compressor.capture import AttentionCapture
from compressor.losses.amad import amad_loss
from compressor.report import numbers

Outputs = tuple[Tensor, Tensor, Tensor | None, Tensor | None]
Step = Callable[[], Outputs]


class Pair:
    """Teacher, student and a batch; one method per way to get at the maps."""

    def __init__(self, batch: int, size: int, device: str) -> None:
        torch.manual_seed(0)
        # Larger weights than at initialisation, where all maps are nearly uniform.
        config = ViTConfig(image_size=size, initializer_range=0.06)
        models: list[Any] = [ViTModel(config), ViTModel(config)]
        self.teacher, self.student = (model.to(device) for model in models)
        self.teacher.eval()
        self.student.train()
        self.pixels = torch.randn(batch, 3, size, size, device=device)

    def use(self, attention: str) -> None:
        for model in (self.teacher, self.student):
            model.set_attn_implementation(attention)

    def no_maps(self) -> Outputs:
        self.use("sdpa")
        with torch.no_grad():
            target = self.teacher(self.pixels).pooler_output
        return target, self.student(self.pixels).pooler_output, None, None

    def captured(self) -> Outputs:
        with AttentionCapture(self.teacher) as teacher, AttentionCapture(self.student) as student:
            target, output, _, _ = self.no_maps()
            (teacher_map,), (student_map,) = teacher.take(), student.take()
        return target, output, teacher_map.weights, student_map.weights

    def eager(self) -> Outputs:
        self.use("eager")
        with torch.no_grad():
            target = self.teacher(self.pixels, output_attentions=True)
        output = self.student(self.pixels, output_attentions=True)
        return target.pooler_output, output.pooler_output, target.attentions[-1], output.attentions[-1]

    def train(self, step: Step) -> None:
        """Forward and backward."""
        target, output, teacher_map, student_map = step()
        loss = F.mse_loss(output, target)
        if teacher_map is not None and student_map is not None:
            loss = loss + amad_loss(teacher_map, student_map)
        loss.backward()
        self.student.zero_grad(set_to_none=False)
        if self.pixels.is_cuda:
            torch.cuda.synchronize()


def seconds(pair: Pair, step: Step) -> float:
    """One step."""
    clock = time.perf_counter if pair.pixels.is_cuda else time.process_time
    start = clock()
    pair.train(step)
    return clock() - start


def peak_megabytes(pair: Pair, step: Step) -> float:
    """Tensors alive at once within a step, on top of those alive before it."""
    if pair.pixels.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        pair.train(step)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        pair.train(step)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiled.export_chrome_trace(str(path))
        events: list[dict[str, Any]] = json.loads(path.read_text())["traceEvents"]
    sizes = [
        (event["ts"], event["args"]["Bytes"])
        for event in events
        if event.get("name") == "[memory]" and event["args"]["Device Type"] == 0
    ]
    alive = peak = 0
    for _, size in sorted(sizes, key=lambda item: item[0]):
        alive += size
        peak = max(peak, alive)
    return peak / 2**20


def check(pair: Pair) -> float:
    """Largest difference between the maps of the two ways. Exits above 1e-5."""
    _, _, *captured = pair.captured()
    _, _, *eager = pair.eager()
    difference = 0.0
    for ours, theirs in zip(captured, eager, strict=True):
        assert ours is not None
        assert theirs is not None
        difference = max(difference, float((ours - theirs).detach().abs().max()))
    if difference > 1e-5:
        raise typer.BadParameter(f"the maps differ by {difference:.1e}")
    return difference


def main(
    batch: Annotated[int, typer.Option(min=1, help="Pictures.")] = 4,
    size: Annotated[int, typer.Option(min=16, help="Their pixels a side, a multiple of 16.")] = 224,
    rounds: Annotated[int, typer.Option(min=2, help="Measured rounds, after one that warms up.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
) -> None:
    """Print a table of times, memory and ratios."""
    torch.set_num_threads(threads)
    pair = Pair(batch, size, device)
    steps = {"no maps": pair.no_maps, "captured": pair.captured, "output_attentions": pair.eager}
    difference = check(pair)
    pair.train(pair.no_maps)  # makes room for the gradients, which then stay
    memory = {name: peak_megabytes(pair, step) for name, step in steps.items()}
    measured: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name in list(steps) if turn % 2 else list(reversed(steps)):
            elapsed = seconds(pair, steps[name])
            if turn:
                measured[name].append(elapsed)

    where = f"{device}, {numbers.threads(threads)}"
    table = Table(title=f"ViT-B/16, batch {batch}, {size} pixels, {where}, maps within {difference:.0e}")
    for column in ("step", "s", "ratio, round by round", "MiB", "ratio"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for name, times in measured.items():
        ratios = [ours / this for ours, this in zip(measured["captured"], times, strict=True)]
        table.add_row(
            name,
            f"{statistics.median(times):.2f}",
            " ".join(f"{ratio:.2f}" for ratio in ratios),
            f"{memory[name]:.0f}",
            f"{memory['captured'] / memory[name]:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
