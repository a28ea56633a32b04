"""What a bundle costs where it is deployed: start, memory, and what `Bundle` adds to ONNX Runtime.

python -m benchmarks.runtime_cost runs/quickstart/bundle

Runs in an environment without torch, as `pip install '.[cpu]'` makes it. Import and cold start are of new
processes, memory is the largest resident set of one that embeds a batch. Throughput is that of
`Bundle.run_images` on ready pixels against a bare ONNX Runtime session of the same options on the same file,
taking turns; a ratio of 1 means that the checks of the bundle cost nothing.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from compressor.report import numbers
from compressor.runtime import Bundle
from compressor.runtime.manifest import locate
from compressor.runtime.providers import open_session
from compressor.runtime.schema import IMAGE_INPUT, IMAGE_OUTPUT

CALLS = 5
"""Calls of one way before it is the other's turn."""
_STARTS = 7
_IMPORT = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
_COLD = """
import sys
import numpy as np
from compressor.runtime import Bundle
bundle = Bundle.open(sys.argv[1], threads=int(sys.argv[2]), low_memory=sys.argv[3] == "low")
size = bundle.preprocessor.image.size
bundle.run_images(np.zeros((int(sys.argv[4]), 3, size, size), np.float32))
bundle.encode_texts(["a photo of a dog"] * int(sys.argv[4]))
import resource
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder.")],
    batch: Annotated[list[int] | None, typer.Option(min=1)] = None,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    rounds: Annotated[int, typer.Option(min=2)] = 40,
) -> None:
    """Measure, and print three tables."""
    console = Console(width=100)
    console.print(_environment())
    console.print(_processes(bundle, threads))
    console.print(_throughput(bundle, batch or [1, 8, 32], threads, rounds))


def _environment() -> Table:
    """Installed packages and what they take on disk: what `pip` recorded, without compiled Python."""
    sizes = {}
    for found in distributions():
        paths = [Path(str(file.locate())) for file in found.files or () if not file.name.endswith(".pyc")]
        sizes[found.metadata["Name"]] = sum(path.stat().st_size for path in paths if path.is_file()) / 1e6
    table = Table("packages", "MB", "torch", "the five largest", title="environment")
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:5]
    named = ", ".join(f"{name} {size:.0f}" for name, size in largest)
    table.add_row(
        str(len(sizes)), f"{sum(sizes.values()):.0f}", "installed" if "torch" in sizes else "no", named
    )
    return table


def _processes(bundle: Path, threads: int) -> Table:
    table = Table("", "median", "all", title=f"new processes, {_STARTS} of each, files in the page cache")
    imports = {
        "import compressor.runtime": "import compressor.runtime",
        "the same with ONNX Runtime": "import compressor.runtime, onnxruntime",
    }
    for label, statement in imports.items():
        taken = [float(_python(_IMPORT.format(statement))[0]) for _ in range(_STARTS)]
        table.add_row(label, f"{statistics.median(taken):.3f} s", _range(taken, 3))
    for memory in ("usual", "low"):
        for batch in (1, 32):
            runs = [_python(_COLD, str(bundle), str(threads), memory, str(batch)) for _ in range(_STARTS)]
            peaks = [float(run[0]) for run in runs]
            what = f"batch {batch}" + (", low_memory" if memory == "low" else "")
            if batch == 1:
                cold = [run[1] for run in runs]
                table.add_row(
                    f"start to first answer, {what}", f"{statistics.median(cold):.3f} s", _range(cold, 3)
                )
            table.add_row(f"peak memory, {what}", f"{statistics.median(peaks):.0f} MiB", _range(peaks, 0))
    return table


def _python(code: str, *arguments: str) -> tuple[str, float]:
    """What a new interpreter printed, and the seconds from its start to its end."""
    started = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return ended.stdout, time.perf_counter() - started


def _range(values: list[float], places: int) -> str:
    return f"{min(values):.{places}f} to {max(values):.{places}f}"


def _throughput(path: Path, batches: list[int], threads: int, rounds: int) -> Table:
    opened = Bundle.open(path, threads=threads)
    bare = open_session(locate(opened.folder, opened.artifact.image.file), threads)
    table = Table("batch", "Bundle images/s", "bare session images/s", "ratio", "half of the rounds")
    table.title = f"ready pixels, {opened.precision}, {numbers.threads(threads)}"
    size = opened.preprocessor.image.size
    for batch in batches:
        pixels = np.random.default_rng(0).standard_normal((batch, 3, size, size), np.float32)
        ways: dict[str, Callable[[], object]] = {
            "bundle": lambda pixels=pixels: opened.run_images(pixels),
            "bare": lambda pixels=pixels: bare.run([IMAGE_OUTPUT], {IMAGE_INPUT: pixels}),
        }
        taken = _in_turns(ways, rounds)
        rates = {name: batch / float(np.median(times)) for name, times in taken.items()}
        ratios = np.median(taken["bare"], axis=1) / np.median(taken["bundle"], axis=1)
        low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        table.add_row(
            str(batch),
            f"{rates['bundle']:.1f}",
            f"{rates['bare']:.1f}",
            f"{middle:.3f}",
            f"{low:.3f} to {high:.3f}",
        )
    return table


def _in_turns(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of every call (rounds, CALLS)."""
    taken = {name: np.empty((rounds, CALLS)) for name in ways}
    for call in ways.values():
        call()
    for number in range(rounds):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            for call in range(CALLS):
                started = time.perf_counter()
                ways[name]()
                taken[name][number, call] = time.perf_counter() - started
    return taken


if __name__ == "__main__":
    typer.run(main)
