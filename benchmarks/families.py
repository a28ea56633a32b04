"""Every family of models that is exported, at full size with random weights: parity, size, speed.

python -m benchmarks.families                      # all, hours on two cores; what is done is not done again
python -m benchmarks.families --only fastvit_t8    # those whose name contains it
python -m benchmarks.families --table              # the table of docs/export.md, from what was measured

Each family has a process of its own: it starts with empty caches and leaves no memory behind, and one that
fails, hangs or is killed is a line with its reason while the rest goes on. Compared are the ONNX graph and
PyTorch on drawn scenes at batches of 1, 2 and 7, by the cosine after PyTorch's mean has been subtracted; the
same with the samples shuffled must fail. Timed are single calls at batch 1 of ONNX Runtime, PyTorch eager and
`torch.compile` on the same threads, taking turns. `torch.compile` needs a C++ compiler; without one its
column says so.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

RESULTS = Path("runs/families.jsonl")
_LINE = "RESULT "


def main(
    only: Annotated[list[str] | None, typer.Option(help="Families whose name contains this.")] = None,
    results: Annotated[Path, typer.Option(help="JSON lines, one a family; the last one counts.")] = RESULTS,
    rounds: Annotated[int, typer.Option(min=1)] = 20,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Time torch.compile too.")] = True,
    timeout: Annotated[float, typer.Option(min=1, help="Minutes for a family.")] = 60,
    again: Annotated[bool, typer.Option("--again", help="Measure those that are done, too.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Print what was measured as Markdown.")] = False,
    measure: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure the families that are not in `results` yet, or print the table."""
    if measure is not None:
        _measure_here(measure, rounds, threads, compiled)
        return
    if table:
        typer.echo("\n".join(markdown(read_results(results))))
        return
    from benchmarks.family_models import families

    names = [name for name in families() if not only or any(part in name for part in only)]
    if not names:
        raise typer.BadParameter(f"no family is called so; there are: {', '.join(families())}")
    done = read_results(results)
    for number, name in enumerate(names, 1):
        if not again and done.get(name, {}).get("status") == "passed":
            typer.echo(f"[{number}/{len(names)}] {name}: done")
            continue
        typer.echo(f"[{number}/{len(names)}] {name} ...")
        line = _in_a_process(name, rounds, threads, compiled, timeout * 60)
        results.parent.mkdir(parents=True, exist_ok=True)
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        typer.echo(f"      {line['status']} {line.get('reason', '')}")


def read_results(path: Path) -> dict[str, dict[str, Any]]:
    """The last line of each family. A line that was cut off by a kill is passed over."""
    found: dict[str, dict[str, Any]] = {}
    if not path.is_file():
        return found
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        found[line["name"]] = line
    return found


def _in_a_process(name: str, rounds: int, threads: int, compiled: bool, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.families", "--measure", name]
    command += ["--rounds", str(rounds), "--threads", str(threads)]
    command += ["--compile" if compiled else "--no-compile"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads)}
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=seconds, env=environment
        )
    except subprocess.TimeoutExpired:
        return {"name": name, "status": "failed", "reason": f"not done after {seconds / 60:g} minutes"}
    lines = [text for text in ended.stdout.splitlines() if text.startswith(_LINE)]
    if lines:
        line: dict[str, Any] = json.loads(lines[-1].removeprefix(_LINE))
        return line
    said = [text for text in ended.stderr.splitlines() if text.strip()] or ["it said nothing"]
    killed = f"killed by signal {-ended.returncode}" if ended.returncode < 0 else said[-1].strip()[:300]
    return {"name": name, "status": "failed", "reason": killed}


def _measure_here(name: str, rounds: int, threads: int, compiled: bool) -> None:
    from benchmarks.family_measure import Timing, measure
    from benchmarks.family_models import families

    found = measure(families()[name](), Timing(rounds, threads, compiled))
    failed = [
        f"{part}: {tower['reason']}" for part, tower in found["towers"].items() if tower["status"] != "passed"
    ]
    line = {
        "name": name,
        "status": "failed" if failed else "passed",
        "reason": "; ".join(failed),
        **found,
        "rounds": rounds,
        "threads": threads,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {
            of: version(of) for of in ("torch", "onnxruntime", "timm", "transformers", "open_clip_torch")
        },
    }
    typer.echo(_LINE + json.dumps(line))


def markdown(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The lines of the table, and below it what failed or has no figure, with the reason."""
    from benchmarks.family_models import families

    yield (
        "| family | part | status | cosine | worst at 1 / 2 / 7 | shuffled | ONNX MB | ONNX Runtime ms | "
        "eager ms | compile ms |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    notes = []
    for name in families():
        line = results.get(name)
        if line is None:
            yield f"| {name} | | not measured | | | | | | | |"
            continue
        if line["reason"]:
            notes.append(f"- {name} failed: {line['reason']}")
        for part, tower in line.get("towers", {"": line}).items():
            yield _row(name, part, tower)
            if tower.get("compile_missing"):
                notes.append(
                    f"- {name}, {part}, without a figure for `torch.compile`: {tower['compile_missing']}"
                )
    yield ""
    yield from notes


def _row(name: str, part: str, tower: dict[str, Any]) -> str:
    times = tower.get("p50_ms", {})
    worst = " / ".join(_number(value, 5) for value in tower.get("worst", {}).values())
    cells = [
        name,
        part,
        tower["status"],
        _number(tower.get("cosine"), 6),
        worst,
        _number(tower.get("shuffled"), 2),
        _number(tower.get("megabytes"), 1),
        *(_number(times.get(way), 2) for way in ("onnxruntime", "eager", "compile")),
    ]
    return f"| {' | '.join(cells)} |"


def _number(value: float | None, places: int) -> str:
    return "" if value is None else f"{value:.{places}f}"


if __name__ == "__main__":
    typer.run(main)
