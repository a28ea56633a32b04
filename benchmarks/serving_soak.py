"""Whether `compressor serve` keeps its memory over many requests, and what it does with more than it can.

python -m benchmarks.serving_soak runs/quickstart --requests 100000 --overload 60

First texts and pictures in turn, memory after every tenth of the requests. Then the highest rate of pictures
is measured, a Poisson load of four times that rate is put on the service, and when it ends: how long until a
request is answered, how fast it answers afterwards, how much memory it holds.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.bare_http import Connections, measure
from benchmarks.served_processes import Served, bundle_of, requests_of, served
from compressor.client.load import Load


def many(service: Served, count: int, clients: int) -> int:
    """Send `count` requests, texts and pictures in turn; how many were not answered with 200."""
    texts, files = requests_of("compressor", "text"), requests_of("compressor", "image")
    mixed = [each for pair in zip(texts, files * len(texts), strict=False) for each in pair]

    async def work() -> int:
        connections = Connections("127.0.0.1", service.port, mixed)
        numbers = iter(range(count))

        async def client() -> int:
            return sum([await connections.send(number) is not None for number in numbers])

        failed = await asyncio.gather(*(client() for _ in range(clients)))
        connections.close()
        return sum(failed)

    return asyncio.run(work())


def until_answered(service: Served, since: float) -> float:
    """Seconds from `since` until a request is answered with 200."""
    while measure(
        "127.0.0.1",
        service.port,
        requests_of("compressor", "image")[:1],
        Load(clients=1, seconds=0.02, warmup=0),
    ).errors:
        pass
    return time.monotonic() - since


def main(
    run: Annotated[Path, typer.Argument(help="A run or a bundle.")],
    cores: Annotated[str, typer.Option(help="Of the service, with commas.")] = "0",
    generator: Annotated[str, typer.Option(help="Cores of the generator.")] = "1",
    requests: Annotated[int, typer.Option(min=0)] = 100_000,
    overload: Annotated[float, typer.Option(min=0, help="Seconds.")] = 60.0,
    times: Annotated[float, typer.Option(help="The overload, in times of the highest rate.")] = 4.0,
    clients: Annotated[int, typer.Option(min=1)] = 16,
) -> None:
    """Measure and print; the last line is all of it as JSON."""
    os.sched_setaffinity(0, [int(core) for core in generator.split(",")])
    command = ["compressor", "serve", f"served={bundle_of(run)}", "--threads", "1"]
    facts: dict[str, Any] = {}
    with served(command, [int(core) for core in cores.split(",")]) as service:
        facts["ready_s"] = service.ready
        if requests:
            facts["memory_mb"], facts["failed"] = _memory(service, requests, clients)
        if overload:
            facts["overload"] = _overload(service, overload, times)
    print(json.dumps(facts))


def _memory(service: Served, requests: int, clients: int) -> tuple[list[float], int]:
    levels, failed = [service.resident()], 0
    for number in range(10):
        failed += many(service, requests // 10, clients)
        levels.append(service.resident())
        print(
            f"{requests // 10 * (number + 1):>8,} requests, {failed} failed, {levels[-1]:.1f} MB", flush=True
        )
    return levels, failed


def _overload(service: Served, seconds: float, times: float) -> dict[str, Any]:
    files = requests_of("compressor", "image")
    usual = measure("127.0.0.1", service.port, files, Load(clients=32, seconds=5, warmup=2))
    rate, before = len(usual.latencies) / 5, service.resident()
    load = Load(clients=None, rate=times * rate, seconds=seconds, warmup=0.5, timeout=60)
    tally = measure("127.0.0.1", service.port, files, load)
    ended, most = time.monotonic(), service.resident()
    back = until_answered(service, ended)
    time.sleep(2)
    after = measure("127.0.0.1", service.port, files, Load(clients=32, seconds=5, warmup=0))
    found, late = tally.percentiles(), tally.late_ms()
    shown = {
        "highest_rate": rate,
        "asked_rate": times * rate,
        "answered": len(tally.latencies),
        "errors": dict(tally.errors),
        "p50_ms": found.p50 if found else None,
        "longest_ms": found.max if found else None,
        "generator": tally.generator,
        "late_ms": late,
        "answers_again_after_s": back,
        "rate_afterwards": len(after.latencies) / 5,
        "errors_afterwards": dict(after.errors),
        "memory_mb": {"before": before, "overload": most, "after": service.resident()},
        "alive": service.process.poll() is None,
    }
    for name, value in shown.items():
        print(f"{name}: {value}")
    return shown


if __name__ == "__main__":
    typer.run(main)
