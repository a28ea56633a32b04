"""`compressor bundle inspect` on a terminal: what bundle.json says, for people. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compressor.report import numbers as n
from compressor.report.runtimes import NAMES, runtime_of
from compressor.runtime.manifest import AnyManifest
from compressor.runtime.schema import Artifact, BundleManifest, Search
from compressor.runtime.writer_schema import WriterArtifact
from compressor.terminal import printable

_LINEAGE = ("recipe", "model", "compressor", "git_revision", "seed", "data")
"""Of the lineage; `--json` prints all of it, and all else that is left out here."""
_HASH = re.compile("[0-9a-f]{32,}")
_WRITTEN = {"cider": "CIDEr", "bleu_4": "BLEU-4", "vqa_accuracy": "VQA accuracy"}


def print_bundle(manifest: AnyManifest, console: Console | None = None) -> None:
    """Print precisions with their verdicts, the main results, licences and a line of lineage."""
    console = console or Console()
    _say(
        console,
        f"{manifest.name}: {manifest.kind}, {manifest.role}, "
        f"{manifest.parameters['total'] / 1e6:.2f} M parameters, schema {manifest.schema_version}",
    )
    console.print(_precisions(manifest))
    for label, text in _lines(manifest):
        _say(console, f"  {label:<10}{text}")


def _say(console: Console, text: str) -> None:
    console.print(printable(text.replace("\u00a0", " ")), markup=False, highlight=False, soft_wrap=True)


def _precisions(manifest: AnyManifest) -> Table:
    """Fits 80 columns: reasons that are sentences stand below it."""
    table = Table()
    table.add_column("precision", overflow="fold")
    table.add_column("status", no_wrap=True)
    for heading in ("size", "worst\ncosine", "recall\nchange"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("remark")
    search = _search(manifest)
    left_out = search.left_out if search is not None else {}
    shown: dict[str, Artifact | WriterArtifact] = {**manifest.artifacts, **left_out}
    for name, artifact in shown.items():
        size = sum({entry.path: entry.bytes for entry in artifact.files()}.values())
        status = "left out" if name in left_out else artifact.status
        table.add_row(
            *_cells(
                name,
                status,
                f"{size / 1e6:.1f} MB",
                _worst_cosine(artifact),
                _recall_change(artifact),
                ", ".join(_remarks(manifest, search, name)),
            )
        )
    for name in manifest.not_made:
        if name not in left_out:
            table.add_row(*_cells(name, "not made", "", "", "", ""))
    return table


def _cells(*texts: str) -> Iterator[str]:
    """Without what would be markup: the texts come from a file."""
    return (escape(printable(text)) for text in texts)


def _search(manifest: AnyManifest) -> Search | None:
    return manifest.search if isinstance(manifest, BundleManifest) else None


def _worst_cosine(artifact: Artifact | WriterArtifact) -> str:
    """Of all samples and all graphs."""
    graphs = (artifact.image, artifact.text) if isinstance(artifact, Artifact) else artifact.graphs.values()
    found = [graph.worst_cosine for graph in graphs if graph.worst_cosine is not None]
    return n.cosine(min(found)) if found else "–"


def _recall_change(artifact: Artifact | WriterArtifact) -> str:
    delta = artifact.recall_delta if isinstance(artifact, Artifact) else None
    return "–" if delta is None else n.signed_points(delta, 2)


def _remarks(manifest: AnyManifest, search: Search | None, name: str) -> Iterator[str]:
    """Whether it is the default, what it won, or else what speaks against it; and what it runs in."""
    if name == manifest.default_precision:
        yield "default"
    if search is not None:
        won = [goal for goal, winner in search.winners.items() if winner == name]
        yield from won
        candidate = search.candidates.get(name)
        if candidate is not None and candidate.weakness and not won:
            yield candidate.weakness
    if name in manifest.artifacts and runtime_of(manifest, name) != "onnxruntime":
        yield f"in {NAMES[runtime_of(manifest, name)]}"


def _lines(manifest: AnyManifest) -> Iterator[tuple[str, str]]:
    search = _search(manifest)
    for name, artifact in manifest.artifacts.items():
        if artifact.status == "failed" and artifact.reason:
            yield "failed", f"{name}: {artifact.reason}"
    for name, reason in manifest.not_made.items():
        if search is None or name not in search.left_out:
            yield "not made", f"{name}: {reason}"
    if manifest.origin:
        yield "origin", manifest.origin
    yield from _results(manifest.results)
    licences = manifest.licences or {"model": manifest.licence or "not recorded"}
    for part, licence in licences.items():
        yield "licence", f"{part}: {licence}"
    lineage = ", ".join(_lineage(manifest.lineage))
    if lineage:
        yield "lineage", lineage


def _results(results: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Quality, retention and latency; free parts of the file, so that nothing in them is relied on."""
    if results.get("rehearsal"):
        yield "quality", "none: a rehearsal has random weights"
    split = results.get("split")
    where = f" on {split}" if isinstance(split, str) else ""
    for figure, label in {"rsum": "RSUM", **_WRITTEN}.items():
        value, kept = _figure(results, "quality", "student", figure), _figure(results, "retention", figure)
        if value is not None:
            share = f", {n.percent(kept)} of the teacher’s" if kept is not None else ""
            yield "quality", f"{label} {n.points(value)}{where}{share}"
    ratio = _figure(results, "latency", "p50_ratio")
    for quantity, label in (("pair", "an image and a text"), ("generation", "a text")):
        value = _figure(results, "latency", quantity, "student", "p50_ms")
        if value is not None:
            share = f", {n.percent(ratio)} of the teacher’s" if ratio is not None else ""
            precision = results["latency"].get("precision")
            where = n.at(precision) if isinstance(precision, str) else ""
            yield "latency", f"{n.milliseconds(value)}{where} for {label}{share}"


def _figure(part: Any, *path: str) -> float | None:
    for name in path:
        part = part.get(name) if isinstance(part, dict) else None
    return float(part) if n.is_number(part) and abs(part) < 1e15 else None


def _lineage(lineage: dict[str, Any]) -> Iterator[str]:
    """What identifies where it came from, hashes to their first twelve digits."""
    for name in _LINEAGE:
        value = lineage.get(name)
        if isinstance(value, str) and value:
            yield f"{name.replace('_', ' ')} {value[:12] if _HASH.fullmatch(value) else value}"
        elif isinstance(value, int):
            yield f"{name.replace('_', ' ')} {value}"
