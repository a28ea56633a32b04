"""Every precision of a bundle against fp32, interleaved: time of both towers, size, and what the gate found.

python -m benchmarks.precisions runs/quickstart/bundle --batch 1 --batch 32

For a bundle with several precisions run its recipe with `export.search=true`, or list them in
`export.precisions`. The precisions take turns in rounds, so that whatever slows the machine down meets all of
them, and the ratio is the median of the rounds' own. `--clock cpu` counts the time that the thread was
computing instead of the time that passed: on a machine shared with other work the fairer of the two.
"""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from compressor.benchmark.latency import order_of_round
from compressor.runtime.bundle import Bundle

CALLS = 5
"""Calls of one precision before it is the next one's turn."""


class Clock(StrEnum):
    wall = "wall"
    cpu = "cpu"


def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder.")],
    batch: Annotated[list[int] | None, typer.Option(min=1)] = None,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    rounds: Annotated[int, typer.Option(min=2)] = 20,
    clock: Clock = Clock.wall,
) -> None:
    """Time every artifact that passed its gate and print a table."""
    if clock is Clock.cpu and threads > 1:
        raise typer.BadParameter("--clock cpu counts one thread; leave --threads at 1")
    first = Bundle.open(bundle, precision="fp32", threads=threads)
    bundles = {
        name: Bundle.open(bundle, precision=name, threads=threads)
        for name, artifact in first.manifest.artifacts.items()
        if artifact.status == "passed"
    }
    size = first.preprocessor.image.size
    words = first.preprocessor.texts(["a photo of a dog", "two red squares above a small blue circle"])
    columns: dict[str, dict[str, NDArray[np.float64]]] = {}
    for rows in batch or [1, 32]:
        pixels = np.random.default_rng(0).standard_normal((rows, 3, size, size), np.float32)
        ids = np.resize(words, (rows, words.shape[1]))
        columns[f"image, batch {rows}"] = _timed(bundles, "run_images", pixels, rounds, clock)
        columns[f"text, batch {rows}"] = _timed(bundles, "run_texts", ids, rounds, clock)
    _show(first, bundles, columns, clock)


def _timed(
    bundles: dict[str, Bundle],
    call: str,
    rows: NDArray[np.float32] | NDArray[np.int64],
    rounds: int,
    clock: Clock,
) -> dict[str, NDArray[np.float64]]:
    """Milliseconds of a call, one median a round."""
    now = time.thread_time_ns if clock is Clock.cpu else time.perf_counter_ns
    taken = {name: np.zeros(rounds) for name in bundles}
    for opened in bundles.values():
        for _ in range(CALLS):
            getattr(opened, call)(rows)
    for number in range(rounds):
        for name in order_of_round(list(bundles), number):
            times = []
            for _ in range(CALLS):
                started = now()
                getattr(bundles[name], call)(rows)
                times.append((now() - started) / 1e6)
            taken[name][number] = np.median(times)
    return taken


def _show(
    first: Bundle,
    bundles: dict[str, Bundle],
    columns: dict[str, dict[str, NDArray[np.float64]]],
    clock: Clock,
) -> None:
    table = Table("precision", "MB", "recall change", "95 % interval", "best kept", *columns)
    table.title = f"{first.manifest.name}: p50 in ms of {clock} time, and times faster than fp32"
    for name in bundles:
        artifact = first.manifest.artifacts[name]
        interval = artifact.recall_delta_interval
        table.add_row(
            name,
            f"{sum(entry.bytes for entry in artifact.files()) / 1e6:.2f}",
            "" if artifact.recall_delta is None else f"{artifact.recall_delta:+.2f}",
            "" if interval is None else f"{interval[0]:+.2f} to {interval[1]:+.2f}",
            "" if artifact.overlap is None else f"{artifact.overlap:.1%}",
            *(
                f"{np.median(taken[name]):.3f} ({np.median(taken['fp32'] / taken[name]):.2f}x)"
                for taken in columns.values()
            ),
        )
    Console(width=200).print(table)
    search = first.manifest.search
    if search is not None:
        won = ", ".join(f"{goal} {name}" for goal, name in search.winners.items())
        typer.echo(f"the search: {won}; left out: {', '.join(search.left_out) or 'nothing'}")


if __name__ == "__main__":
    typer.run(main)
