"""The towers of a bundle in every runtime that this machine has: p50 of a call, interleaved in one process.

python -m benchmarks.backends runs/quickstart/bundle --threads 1 --batch 1

Every row is one way to run one precision: ONNX Runtime on the CPU, on its GPU providers, OpenVINO at its own
precision and at float32, TensorRT engines that the bundle holds. They take turns, a few calls each, so that
whatever slows the machine down meets all of them: ratios mean more than times. What cannot run says why.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from compressor.errors import CompressorError
from compressor.runtime.backends import backends
from compressor.runtime.bundle import Bundle
from compressor.runtime.opening import ENGINE_SUFFIX, OPENVINO, open_tower
from compressor.runtime.openvino_tower import OpenVINOTower
from compressor.runtime.providers import provider
from compressor.runtime.schema import IMAGE_INPUT, IMAGE_OUTPUT, TEXT_INPUT, TEXT_OUTPUT
from compressor.runtime.tower import AnyTower

ENDS = {"image": (IMAGE_INPUT, IMAGE_OUTPUT), "text": (TEXT_INPUT, TEXT_OUTPUT)}
CALLS = 5
"""Calls of one runtime before it is the next one's turn."""


def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder.")],
    threads: Annotated[int, typer.Option(min=1)] = 1,
    batch: Annotated[int, typer.Option(min=1)] = 1,
    rounds: Annotated[int, typer.Option(min=2)] = 20,
) -> None:
    """Time every artifact that passed its gate in every runtime, and print a table for each tower."""
    opened = Bundle.open(bundle, threads=threads)
    size, length = opened.preprocessor.image.size, opened.preprocessor.text.context_length
    inputs: dict[str, NDArray[Any]] = {
        "image": np.random.default_rng(0).standard_normal((batch, 3, size, size), np.float32),
        "text": np.resize(opened.preprocessor.texts(["a photo of a dog"]), (batch, length)),
    }
    usable = [backend.name for backend in backends() if backend.usable]
    for name, rows in inputs.items():
        towers: dict[str, AnyTower] = {}
        for label, make in _ways(opened, name, threads, usable):
            try:
                towers[label] = make()
                towers[label].run(rows)
            except CompressorError as error:
                towers.pop(label, None)
                typer.echo(f"{name}, {label}: {error}", err=True)
        _show(name, batch, _timed(towers, rows, rounds), {label: t.run(rows) for label, t in towers.items()})


def _ways(
    opened: Bundle, name: str, threads: int, usable: list[str]
) -> Iterator[tuple[str, Callable[[], AnyTower]]]:
    """What to call each way, and how to open the tower; the first is ONNX Runtime on the CPU at fp32."""
    for precision, artifact in opened.manifest.artifacts.items():
        if artifact.status != "passed":
            continue
        path, ends = opened.folder / getattr(artifact, name).file.path, ENDS[name]
        if path.suffix == ENGINE_SUFFIX:
            yield f"{precision}, TensorRT", partial(open_tower, path, *ends, threads)
            continue
        for backend in usable:
            kind, _, name_of_provider = backend.partition(" ")
            if kind == "onnxruntime":
                wanted = [provider(name_of_provider)]  # not the bare word: `openvino` means its own runtime
                opens = partial(open_tower, path, *ends, threads, wanted)
                yield f"{precision}, ONNX Runtime {name_of_provider}", opens
            elif kind == OPENVINO:
                opens = partial(OpenVINOTower, path, *ends, threads)
                yield f"{precision}, OpenVINO", opens
                yield f"{precision}, OpenVINO in float32", partial(opens, precision="f32")


def _timed(towers: dict[str, AnyTower], rows: NDArray[Any], rounds: int) -> dict[str, NDArray[np.float64]]:
    """Milliseconds of every call (rounds, CALLS); the order is turned round from round to round."""
    taken = {label: np.empty((rounds, CALLS)) for label in towers}
    for number in range(rounds):
        for label in list(towers)[:: 1 if number % 2 else -1]:
            for call in range(CALLS):
                started = time.perf_counter_ns()
                towers[label].run(rows)
                taken[label][number, call] = (time.perf_counter_ns() - started) / 1e6
    return taken


def _show(
    name: str, batch: int, taken: dict[str, NDArray[np.float64]], outputs: dict[str, NDArray[np.float32]]
) -> None:
    """The ratio is the median of the rounds' own, with the quarters of the rounds below and above."""
    table = Table(
        "runtime", "p50 ms", "of the first", "half of the rounds", "cosine", title=f"{name}, batch {batch}"
    )
    first = next(iter(taken))
    for label, times in taken.items():
        ratios = np.median(times, axis=1) / np.median(taken[first], axis=1)
        low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        cosine = float((outputs[label] * outputs[first]).sum(axis=1).mean())  # the rows are of unit length
        p50 = float(np.median(times))
        table.add_row(label, f"{p50:.3f}", f"{middle:.2f}", f"{low:.2f} to {high:.2f}", f"{cosine:.5f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
