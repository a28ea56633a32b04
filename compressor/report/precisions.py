"""The precisions of a student side by side: what each costs in quality, takes in time and on disk."""

from __future__ import annotations

from compressor.report import numbers as n
from compressor.report.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Scale, frame, padded, svg
from compressor.report.bubbles import Mark, bubbles, edges
from compressor.report.figures import Figure
from compressor.report.results import ArtifactFigures, Interval, Results
from compressor.report.runtimes import default_precision
from compressor.report.tables import Cell, Column, Table

_LOG_FROM = 5.0
_STYLES = {"kept": "s1", "slower": "s2", "beaten": "s6"}


def precisions_table(results: Results) -> Table:
    """One row a precision, against fp32 in time and against PyTorch in quality."""
    columns = (
        Column("Precision", numeric=False),
        *map(Column, ("Size", "Time ÷ fp32", "Recall change", "95 % interval", "Best answers kept")),
        Column("Verdict", numeric=False),
    )
    default = default_precision(results)
    rows = [
        _row(f"{name} (default)" if name == default else name, found, results.rehearsal)
        for name, found in _embedding(results).items()
        if found.pair_ratio is not None or found.overlap is not None
    ]
    note = (
        "Time of one image and one text, median over rounds of each round’s own ratio. Recall change: mean "
        "of the six recalls on validation minus PyTorch’s, in points, intervals by paired bootstrap over "
        "images. Best answers kept: share of the ten best that are among PyTorch’s. What is slower than fp32 "
        "wins nothing."
    )
    return Table("Precisions compared", columns, tuple(rows), note)


def precisions_figure(results: Results) -> Figure | None:
    """Recall change against the latency of a pair, bubbles as large as the artifacts on disk.

    None with fewer than three artifacts that have both, and for a rehearsal.
    """
    marks = [] if results.rehearsal else _marks(results)
    if len(marks) < 3:
        return None
    heights = [edge for mark in marks for edge in (mark.height, *edges(mark.interval))]
    times = [mark.latency for mark in marks]
    log = max(times) > _LOG_FROM * min(times)
    x = Scale(*padded(times, log, share=0.22), LEFT, WIDTH - RIGHT, log)
    y = Scale(*padded(heights, share=0.16), HEIGHT - BOTTOM, TOP)
    body = frame(x, y, f"p50 of one image and one text, ms{', log scale' * log}", "recall change, points")
    told = "; ".join(
        f"{mark.name}: {n.signed_points(mark.height, 2)} points at {n.milliseconds(mark.latency)}, "
        f"{n.size(mark.bytes)}"
        for mark in marks
    )
    return Figure(
        svg("precisions", "Precisions: quality against latency", told, body + bubbles(marks, x, y, True)),
        "Up and to the left is better. The area of a bubble is the size of both towers on disk; whiskers are "
        "95 % intervals.",
        tuple((_STYLES[kind], words) for kind, words in _legend(marks)),
    )


def _embedding(results: Results) -> dict[str, ArtifactFigures]:
    return {name: found for name, found in results.artifacts.items() if isinstance(found, ArtifactFigures)}


def _marks(results: Results) -> list[Mark]:
    marks = []
    for name, found in _embedding(results).items():
        image, text = found.image.p50_ms, found.text.p50_ms
        if image is not None and text is not None and found.recall_delta is not None:
            bytes_ = found.image.bytes + found.text.bytes
            kind = "slower" if found.slower_than_fp32 else "beaten" if found.beaten_by else "kept"
            height, interval = found.recall_delta, found.recall_delta_interval
            marks.append(Mark(name, _STYLES[kind], height, interval, image + text, None, bytes_))
    return marks


def _legend(marks: list[Mark]) -> list[tuple[str, str]]:
    words = {
        "kept": "worth having",
        "slower": "slower than fp32",
        "beaten": "beaten by another",
    }
    return [(kind, text) for kind, text in words.items() if any(m.style == _STYLES[kind] for m in marks)]


def _row(name: str, found: ArtifactFigures, rehearsal: bool) -> tuple[Cell, ...]:
    quality = (
        n.signed_points(found.recall_delta, 2),
        _span(found.recall_delta_interval),
        n.percent(found.overlap),
    )
    cells = [n.NOT_JUDGED] * 3 if rehearsal else quality
    ratio = n.NOT_AVAILABLE if found.pair_ratio is None else f"{found.pair_ratio:.2f}"
    figures = (n.size(found.image.bytes + found.text.bytes), ratio, *cells)
    return (Cell(name, "head"), *map(_figure, figures), _verdict(found))


def _span(interval: Interval | None) -> str:
    """An interval; a dash where it is but the zero of what was compared with itself."""
    if interval is not None and round(interval.low, 2) == round(interval.high, 2) == 0:
        return "–"
    return n.span(interval, lambda value: n.signed_points(value, 2))


def _figure(text: str) -> Cell:
    return Cell(text, "muted" if text in (n.NOT_AVAILABLE, n.NOT_JUDGED, "–") else "")


def _verdict(found: ArtifactFigures) -> Cell:
    if found.status == "failed":
        return Cell("✕ failed", "bad")
    if found.wins:
        return Cell(f"✓ {', '.join(found.wins)}", "good")
    parts = []
    if found.slower_than_fp32:
        parts.append("slower than fp32")
    elif found.beaten_by:
        parts.append(f"beaten by {found.beaten_by}")
    if not found.in_bundle:
        parts.append("left out")
    return Cell(f"– {', '.join(parts)}", "muted") if parts else Cell("")
