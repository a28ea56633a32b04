"""Rates and latency of `compressor serve`, beside what bounds it and a service as BentoML's guides have it.

python -m benchmarks.serving runs/quickstart --cores 0 --generator 1

The services stand on `--cores` and the generator on other ones. For texts and for JPEG files of 224 pixels,
at each number of clients, all services are measured in turn, round by round, so that a busy machine disturbs
them alike; ratios are of one round. `bare` is the same bundle in one process without HTTP, on the same cores:
the highest rate of batches of 1, 8 and 32, decoding or tokenising included. Last comes a Poisson load at half
of what was answered at most.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.bare_http import measure
from benchmarks.served_processes import Served, bundle_of, jpegs, requests_of, served
from compressor.client.bodies import phrases
from compressor.client.load import Load

KINDS = ("text", "image")
SERVICES = ("compressor", "nothing", "tutorial")


def bare(bundle: Path, seconds: float) -> dict[str, dict[str, float]]:
    """Items a second of the bundle alone, by kind: its model, and with decoding or tokenising."""
    import time

    import numpy as np

    from compressor.runtime import Bundle

    opened = Bundle.open(bundle, threads=1)
    files, texts = jpegs(), phrases()
    rates: dict[str, dict[str, float]] = {}
    for kind in KINDS:
        run = opened.run_images if kind == "image" else opened.run_texts
        rates[kind] = {"model": 0.0, "whole": 0.0}
        for batch in (1, 8, 32):
            done, total, inside = 0, 0.0, 0.0
            while total < seconds:
                began = time.perf_counter()
                if kind == "image":
                    given = [files[(done + k) % len(files)] for k in range(batch)]
                    rows = np.stack([opened.preprocessor.images([file])[0] for file in given])
                else:
                    rows = opened.preprocessor.texts([texts[(done + k) % len(texts)] for k in range(batch)])
                ready = time.perf_counter()
                run(rows)
                ended = time.perf_counter()
                if done:  # the first is the warm-up
                    total, inside = total + ended - began, inside + ended - ready
                done += batch
            rates[kind]["model"] = max(rates[kind]["model"], (done - batch) / inside)
            rates[kind]["whole"] = max(rates[kind]["whole"], (done - batch) / total)
    return rates


def cell(service: Served, name: str, kind: str, load: Load) -> dict[str, Any]:
    """One measurement."""
    tally = measure("127.0.0.1", service.port, requests_of(name, kind), load)
    found = tally.percentiles()
    lasted = max(tally.last - tally.begun, load.seconds)
    return {
        "rate": len(tally.latencies) / lasted,
        "p50": found.p50 if found else None,
        "p99": found.p99 if found else None,
        "errors": dict(tally.errors),
        "generator": tally.generator,
    }


def middle(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main(
    run: Annotated[Path, typer.Argument(help="A run or a bundle.")],
    cores: Annotated[str, typer.Option(help="Of the services, with commas.")] = "0",
    generator: Annotated[str, typer.Option(help="Cores of the generator.")] = "1",
    clients: Annotated[str, typer.Option()] = "1,8,32,128",
    seconds: Annotated[float, typer.Option(help="Of one measurement.")] = 4.0,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    only_bare: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Measure and print tables in Markdown; the last line is all of it as JSON."""
    if only_bare:
        print(json.dumps(bare(bundle_of(run), seconds)))
        return
    theirs = [int(core) for core in cores.split(",")]
    os.sched_setaffinity(0, [int(core) for core in generator.split(",")])
    counts = [int(count) for count in clients.split(",")]
    bundle = str(bundle_of(run))
    module = "benchmarks.served_services"
    commands = {
        "compressor": ["compressor", "serve", f"served={bundle}", "--threads", "1"],
        "nothing": ["bentoml", "serve", f"{module}:Nothing"],
        "tutorial": ["bentoml", "serve", f"{module}:Tutorial"],
    }
    facts: dict[str, Any] = {"cells": []}
    facts["bare"] = _bare_apart(run, theirs, seconds)
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(served(command, theirs, {"BENCHMARK_BUNDLE": bundle}))
            for name, command in commands.items()
        }
        facts["ready_s"] = {name: service.ready for name, service in running.items()}
        for kind in KINDS:
            for count in counts:
                for number in range(rounds):
                    for name in SERVICES if number % 2 else reversed(SERVICES):
                        load = Load(clients=count, seconds=seconds, warmup=seconds / 4)
                        found = cell(running[name], name, kind, load)
                        facts["cells"].append(
                            {"kind": kind, "clients": count, "round": number, "service": name, **found}
                        )
            facts[f"half_{kind}"] = _half(running["compressor"], kind, facts["cells"], 4 * seconds)
    _show(facts, counts)
    print(json.dumps(facts))


def _bare_apart(run: Path, cores: list[int], seconds: float) -> dict[str, dict[str, float]]:
    """`bare` on the services' cores."""
    command = [sys.executable, "-m", "benchmarks.serving", str(run), "--only-bare", "--seconds", str(seconds)]
    ended = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, preexec_fn=lambda: os.sched_setaffinity(0, cores)
    )
    found: dict[str, dict[str, float]] = json.loads(ended.stdout)
    return found


def _half(service: Served, kind: str, cells: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """A Poisson load at half of the highest median rate."""
    rates: dict[int, list[float]] = {}
    for each in cells:
        if each["service"] == "compressor" and each["kind"] == kind:
            rates.setdefault(each["clients"], []).append(each["rate"])
    rate = max(statistics.median(values) for values in rates.values()) / 2
    load = Load(clients=None, rate=rate, seconds=seconds, warmup=seconds / 8)
    return {"asked": rate, **cell(service, "compressor", kind, load)}


def _show(facts: dict[str, Any], counts: list[int]) -> None:
    for kind in KINDS:
        alone = facts["bare"][kind]
        print(f"\n{kind}: bare model {alone['model']:.0f}/s, with its preparation {alone['whole']:.0f}/s\n")
        print(
            "| clients | requests/s | p50, ms | p99, ms | nothing | tutorial | of the bound | of tutorial |"
        )
        print("| --- " * 8 + "|")
        for count in counts:
            found = {
                name: [
                    each
                    for each in facts["cells"]
                    if (each["kind"], each["clients"], each["service"]) == (kind, count, name)
                ]
                for name in SERVICES
            }
            rate = {name: [each["rate"] for each in rounds] for name, rounds in found.items()}
            bound = [
                ours / min(alone["whole"], nothing)
                for ours, nothing in zip(rate["compressor"], rate["nothing"], strict=True)
            ]
            times = [ours / other for ours, other in zip(rate["compressor"], rate["tutorial"], strict=True)]
            p50, p99 = (
                statistics.median(each[p] or 0 for each in found["compressor"]) for p in ("p50", "p99")
            )
            medians = {name: f"{statistics.median(values):.0f}" for name, values in rate.items()}
            print(
                f"| {count} | {medians['compressor']} | {p50:.1f} | {p99:.1f} | {medians['nothing']} | "
                f"{medians['tutorial']} | {middle(bound)} | {middle(times)} |"
            )
        half = facts[f"half_{kind}"]
        print(
            f"\nat half load ({half['asked']:.0f}/s, Poisson): p50 {half['p50']:.2f} ms, p99 "
            f"{half['p99']:.2f} ms, {half['p99'] / half['p50']:.1f} times, errors {half['errors'] or 'none'}"
        )
    errors = [each for each in facts["cells"] if each["errors"]]
    print(f"\nmeasurements with errors: {len(errors)}; ready after (s): {facts['ready_s']}\n")


if __name__ == "__main__":
    typer.run(main)
