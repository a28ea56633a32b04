"""The charts of a report as SVG: lines over steps, quality against latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from compressor.report.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Scale, frame, padded, svg
from compressor.report.bubbles import Mark, bubbles, edges
from compressor.report.curves import Points
from compressor.report.numbers import milliseconds, points, size
from compressor.report.results import Results

_LOG_FROM = 20.0


@dataclass(frozen=True)
class Line:
    """A named curve; `style` is the class that colours it, `dots` marks every point, the highest largest, or
    the lowest where `lowest` is best."""

    label: str
    points: Points
    style: str
    dots: bool = False
    lowest: bool = False


@dataclass(frozen=True)
class Figure:
    """A chart with its legend (class, label) and caption."""

    picture: str
    caption: str
    legend: tuple[tuple[str, str], ...] = ()


def line_figure(
    identifier: str,
    title: str,
    lines: Sequence[Line],
    y_label: str,
    caption: str,
    reference: tuple[str, float] | None = None,
) -> Figure | None:
    """Lines over steps; None where there is nothing to draw. `reference` is a named level across the chart.

    The vertical axis is logarithmic where all values are positive and spread over more than a factor of 20.
    """
    drawn = [line for line in lines if line.points]
    if not drawn:
        return None
    levels = [y for line in drawn for _, y in line.points] + ([reference[1]] if reference else [])
    steps = [x for line in drawn for x, _ in line.points]
    log = min(levels) > 0 and max(levels) / min(levels) > _LOG_FROM
    low, high = padded(levels, log)
    if not log and min(levels) >= 0 and low < 0.35 * high:
        low = 0.0
    x = Scale(0.0, max(max(steps), 1.0), LEFT, WIDTH - RIGHT)
    y = Scale(low, high, HEIGHT - BOTTOM, TOP, log)
    body = [frame(x, y, "step", y_label + (", log scale" if log else ""))]
    if reference:
        body.append(_level(*reference, x, y))
    body += [_line(line, x, y) for line in drawn]
    ends = "; ".join(
        f"{line.label} from {line.points[0][1]:.4g} to {line.points[-1][1]:.4g}" for line in drawn
    )
    return Figure(
        svg(identifier, title, f"{y_label} over {x.high:.0f} steps: {ends}.", "".join(body)),
        caption,
        tuple((line.style, line.label) for line in drawn),
    )


def pareto_figure(results: Results) -> Figure | None:
    """RSUM against the latency of a pair, bubbles as large as the models on disk.

    None where no model has both, and for a rehearsal. A teacher that cannot be run is a level, not a bubble.
    The control is the student's network, so it stands at the student's latency.
    """
    marks = [] if results.rehearsal else _marks(results)
    if not marks:
        return None
    teacher = results.retrieval.get("teacher")
    level = teacher.rsum if teacher is not None and all(mark.name != "teacher" for mark in marks) else None
    highs = [edge for mark in marks for edge in (mark.height, *edges(mark.interval))]
    low, high = padded(highs + ([level] if level is not None else []), share=0.16)
    x = Scale(*padded([mark.latency for mark in marks], log=True, share=0.22), LEFT, WIDTH - RIGHT, log=True)
    y = Scale(max(0.0, low), min(600.0, high) if high > 600 else high, HEIGHT - BOTTOM, TOP)
    body = [frame(x, y, "p50 of one image and one text, ms, log scale", "RSUM")]
    if level is not None:
        body.append(_level("teacher (no latency)", level, x, y))
    body.append(bubbles(marks, x, y))
    told = "; ".join(
        f"{mark.name}: RSUM {points(mark.height)} at {milliseconds(mark.latency)}, {size(mark.bytes)}"
        for mark in marks
    )
    return Figure(
        svg("pareto", "Quality against latency", told, "".join(body)),
        "Up and to the left is better. The area of a bubble is the model’s size on disk; "
        "whiskers are 95 % intervals.",
        tuple((mark.style, f"{mark.name}, {size(mark.bytes)}") for mark in marks),
    )


def _marks(results: Results) -> list[Mark]:
    marks = []
    for name, timed in (("teacher", "teacher"), ("control", "student"), ("student", "student")):
        quality = results.retrieval.get(name)  # type: ignore[call-overload]
        timing = getattr(results.towers.pair, timed) if results.towers else None
        held = getattr(results.size, timed)
        if quality is not None and timing is not None:
            bytes_ = held.bytes if held else 0
            marks.append(
                Mark(
                    name,
                    f"c-{name}",
                    quality.rsum,
                    quality.rsum_interval,
                    timing.p50_ms,
                    timing.p50_interval,
                    bytes_,
                )
            )
    return marks


def _level(label: str, value: float, x: Scale, y: Scale) -> str:
    """A named dashed line across the chart."""
    at = y(value)
    return (
        f'<line class="reference" x1="{x.start}" x2="{x.end}" y1="{at:.1f}" y2="{at:.1f}"/>'
        f'<text class="note" x="{x.end - 2}" y="{at - 6:.1f}" text-anchor="end">{escape(label)}</text>'
    )


def _line(line: Line, x: Scale, y: Scale) -> str:
    places = [(x(step), y(value)) for step, value in line.points]
    drawn = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    parts = [f'<g class="{line.style}"><polyline class="line" points="{drawn}"/>']
    if line.dots or len(places) == 1:
        best = (max if line.lowest else min)(places, key=lambda place: place[1])
        for a, b in places:
            parts.append(
                f'<circle class="dot" cx="{a:.1f}" cy="{b:.1f}" r="{5.5 if (a, b) == best else 2.8}"/>'
            )
    return "".join([*parts, "</g>"])
