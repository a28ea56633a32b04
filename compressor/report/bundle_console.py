"""`compressor bundle inspect` on a terminal: what bundle.json says, for people. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compressor.report.runtimes import NAMES, runtime_of
from compressor.runtime.manifest import AnyManifest
from compressor.runtime.schema import BundleManifest
from compressor.terminal import printable

_SHOWN = ("split", "rehearsal", "quality.student.", "retention.", "latency.p50_ratio", "device.cpu.model")
"""Of the results; `--json` prints them all."""


def print_bundle(manifest: AnyManifest, console: Console | None = None) -> None:
    """Print precisions with their verdicts, calibration, results, licences and lineage."""
    console = console or Console()
    console.print(
        f"{printable(manifest.name)}: {manifest.kind}, {manifest.role}, "
        f"{manifest.parameters['total'] / 1e6:.2f} M parameters, schema {manifest.schema_version}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    console.print(_precisions(manifest))
    for label, text in _lines(manifest):
        line = f"  {label:<12}{printable(text)}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _precisions(manifest: AnyManifest) -> Table:
    table = Table()
    for heading in ("precision", "runs in", "status", "size", "reason"):
        table.add_column(heading, justify="right" if heading == "size" else "left")
    for name, artifact in manifest.artifacts.items():
        size = sum({entry.path: entry.bytes for entry in artifact.files()}.values())
        shown = f"{name} (default)" if name == manifest.default_precision else name
        cells = (shown, NAMES[runtime_of(manifest, name)], artifact.status, f"{size / 1e6:.1f} MB")
        table.add_row(*_cells(*cells, artifact.reason))
    for name, reason in manifest.not_made.items():
        table.add_row(*_cells(name, "", "not made", "", reason))
    return table


def _cells(*texts: str) -> Iterator[str]:
    """Without what would be markup: the texts come from a file."""
    return (escape(printable(text)) for text in texts)


def _lines(manifest: AnyManifest) -> Iterator[tuple[str, str]]:
    if manifest.origin:
        yield "origin", manifest.origin
    for part, licence in (manifest.licences or {"model": manifest.licence or "not recorded"}).items():
        yield "licence", f"{part}: {licence}"
    calibration = manifest.calibration if isinstance(manifest, BundleManifest) else None
    if calibration is not None:
        yield (
            "calibration",
            f"against the teacher on {calibration.images} {calibration.split} images at "
            f"{calibration.precision}; a mapped threshold misses the accepted share by "
            f"{calibration.error.accepted:.1f} points",
        )
    for name, value in _flat(manifest.results):
        if name.startswith(_SHOWN) and name.count(".") <= 2:
            yield "results", f"{name} {value}"
    for name, value in _flat(manifest.lineage):
        yield "lineage", f"{name} {value}"


def _flat(part: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names with dots, as goals write them, and values; without what is missing."""
    for name, value in part.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", f"{value:.4g}" if isinstance(value, float) else str(value)
