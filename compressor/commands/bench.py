"""`compressor bench http`: a load on a service that runs."""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compressor.commands.options import Json, Quiet
from compressor.errors import DataError
from compressor.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compressor.client.bodies import LoadBody
    from compressor.client.load import Told
    from compressor.client.tally import LoadReport, Tally

bench = typer.Typer(name="bench", help="Measure a service that runs.", no_args_is_help=True)

_SIDE = 224
_CLIENTS = 8
_FEW = 1_000
_BUSY = 0.8


@bench.callback()
def group() -> None:
    """Measure a service that runs."""


@bench.command()
def http(
    url: Annotated[str, typer.Argument(help="Its address, such as http://127.0.0.1:3000.")],
    kind: Annotated[
        str, typer.Option("--kind", help="text or image: embeddings; search: texts against the gallery.")
    ] = "text",
    clients: Annotated[
        int | None,
        typer.Option("--clients", help=f"Clients that wait for their answers; {_CLIENTS} without a rate."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", help="Requests a second, at random, whether answered or not.")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="How long to measure.")] = 20.0,
    warmup: Annotated[float, typer.Option("--warmup", help="Seconds before, which do not count.")] = 2.0,
    timeout: Annotated[
        float, typer.Option("--timeout", help="Seconds after which a request is an error.")
    ] = 30.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the arrivals with --rate.")] = 0,
    image: Annotated[
        Path | None, typer.Option("--image", help="Picture to send; without it a drawn JPEG of 224 pixels.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Which bundle; default: the first.")] = None,
    key: Annotated[
        str | None, typer.Option("--key", envvar="COMPRESSOR_KEY", show_envvar=True, help="Bearer key.")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Latency, throughput and errors under load; Ctrl-C shows what was measured until then."""
    from compressor.client.load import Load, measure

    if clients is None and rate is None:
        clients = _CLIENTS
    load = Load(clients, rate, seconds, warmup, timeout, seed)
    body = _body(kind, image, model)
    shown = not (quiet or as_json) and sys.stderr.isatty()
    report = measure(url, body, load, key=key, told=_progress(load.warmup, load.seconds) if shown else None)
    if shown:
        typer.echo("\r\033[K", nl=False, err=True)
    if as_json:
        typer.echo(report.json())
    elif not quiet:
        print_load(report)
    if report.interrupted:
        raise typer.Exit(130)


def _body(kind: str, image: Path | None, model: str | None) -> LoadBody:
    from compressor.client.bodies import KINDS, image_body, search_body, text_body
    from compressor.client.chunks import picture_bytes

    if kind not in KINDS:
        raise DataError(f"--kind is one of {', '.join(KINDS)}, not {kind!r}")
    if image is not None and kind != "image":
        raise DataError(f"--image goes with --kind image, not with {kind}")
    if kind == "image":
        return image_body(_drawn() if image is None else picture_bytes(image), model)
    return text_body(model) if kind == "text" else search_body(model=model)


def _drawn() -> bytes:
    """A JPEG of 224 pixels with the detail of a photograph: smooth shades and some grain, always the same."""
    import numpy as np
    from PIL import Image

    steps = np.linspace(0, 1, _SIDE)
    shades = np.stack([np.add.outer(steps, k * steps) / (1 + k) for k in range(3)], axis=-1)
    grain = np.random.default_rng(0).normal(0, 0.04, shades.shape)
    pixels = (255 * np.clip(shades + grain, 0, 1)).astype(np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def _progress(warmup: float, seconds: float) -> Told:
    """A line that is written anew: how far it is, and what was counted."""

    def told(elapsed: float, tally: Tally) -> None:
        if elapsed < warmup:
            line = f"warming up, {elapsed:.0f} of {warmup:g} s"
        else:
            counted = f"{len(tally.latencies):,} good, {tally.failed:,} errors, {tally.unfinished:,} waiting"
            line = f"{min(elapsed - warmup, seconds):.0f} of {seconds:g} s: {counted}"
        typer.echo(f"\r\033[K{line[:79]}", nl=False, err=True)

    return told


def print_load(report: LoadReport) -> None:
    """Print a load's figures, for 80 columns."""
    from rich.console import Console
    from rich.table import Table

    table = Table()
    cells = []
    for heading, cell in _cells(report):
        table.add_column(heading, justify="right")
        cells.append(cell)
    table.add_row(*cells)
    console = Console()
    for line in _head(report):
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
    console.print(table)
    for line in _notes(report):
        console.print(f"  {printable(line)}", markup=False, highlight=False, soft_wrap=True)


def _cells(report: LoadReport) -> Iterator[tuple[str, str]]:
    yield "answers", f"{report.good:,}"
    yield "errors", f"{report.failed:,}"
    yield "per s", f"{report.throughput:,.1f}"
    latency = report.latency_ms
    for name in ("p50", "p90", "p95", "p99", "max"):
        yield f"{name} ms", "" if latency is None else _three_digits(getattr(latency, name))


def _three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _head(report: LoadReport) -> Iterator[str]:
    if report.rate is None:
        loop = f"{report.clients:,} client{'s' * (report.clients != 1)}, each waiting for its answers"
    else:
        loop = f"{report.rate:g} requests a second at random (seed {report.seed})"
    yield f"{report.url}  {report.kind}"
    yield f"{loop}, {report.measured:.1f} s after {report.warmup:g} s of warm-up"


def _notes(report: LoadReport) -> Iterator[str]:
    for kind, count in report.errors.items():
        yield f"error    {count:,} x {kind}"
    if report.interrupted:
        yield f"note     interrupted; {report.unfinished:,} requests had no answer yet and are not counted"
    if report.late_ms is not None and report.good:
        mean, longest = report.late_ms
        late = f"{mean:.2f} ms late in the mean, {longest:.1f} at most"
        yield f"note     requests were sent {late}; latencies include it"
    if report.generator > _BUSY:
        yield f"note     the generator took {100 * report.generator:.0f} % of a core: it may be the limit"
    if 0 < report.good < _FEW:
        yield f"note     p99 of {report.good:,} answers is decided by {max(1, report.good // 100)} of them"
