"""Bubbles on a chart: a quality over a latency, the area what it takes on disk, whiskers for intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from compressor.report.axes import WIDTH, Scale
from compressor.report.results import Interval

_LARGEST, _SMALLEST = 30.0, 5.0
_LETTER = 8.2
"""Width of a letter of a label in pixels, about."""
_LINE = 16.0
"""Height of a line of labels."""
_Box = tuple[float, float, float, float]
"""Left, right, top and bottom, in pixels."""


@dataclass(frozen=True)
class Mark:
    """A named bubble; `style` is the class that colours it."""

    name: str
    style: str
    height: float
    interval: Interval | None
    latency: float
    latency_interval: Interval | None
    bytes: int


def bubbles(marks: Sequence[Mark], x: Scale, y: Scale, crowded: bool = False) -> str:
    """All marks with their whiskers and names; the largest has the largest area.

    Names stand beside the bubbles. Where there are many (`crowded`), bubbles have half the area, and names
    stand wherever around them is free.
    """
    largest = (max((mark.bytes for mark in marks), default=0) or 1) * (2 if crowded else 1)
    drawn = [_bubble(mark, x, y, largest) for mark in marks]
    labels = _free_labels if crowded else _labels
    return "".join([*drawn, labels(marks, x, y, largest)])


def edges(interval: Interval | None) -> tuple[float, ...]:
    """Both ends of an interval; none where there is none."""
    return () if interval is None else (interval.low, interval.high)


def _bubble(mark: Mark, x: Scale, y: Scale, largest: int) -> str:
    at, up = x(mark.latency), y(mark.height)
    radius = _radius(mark, largest)
    parts = [f'<g class="{mark.style}">']
    if mark.interval is not None:
        parts.append(_whisker(at, y(mark.interval.low), at, y(mark.interval.high)))
    if mark.latency_interval is not None:
        parts.append(_whisker(x(mark.latency_interval.low), up, x(mark.latency_interval.high), up))
    parts.append(f'<circle class="bubble" cx="{at:.1f}" cy="{up:.1f}" r="{radius:.1f}"/>')
    parts.append(f'<circle class="centre" cx="{at:.1f}" cy="{up:.1f}" r="2"/></g>')
    return "".join(parts)


def _labels(marks: Sequence[Mark], x: Scale, y: Scale, largest: int) -> str:
    """Names beside the bubbles and their whiskers, pushed apart where they would cover each other."""
    parts = []
    lowest = -math.inf
    for mark in sorted(marks, key=lambda mark: -mark.height):
        at, up = x(mark.latency), max(y(mark.height), lowest + 16)
        lowest = up
        radius, whiskers = _radius(mark, largest), [x(edge) for edge in edges(mark.latency_interval)]
        place, anchor = max([at + radius, *whiskers]) + 7, "start"
        if place + _LETTER * len(mark.name) > WIDTH:
            place, anchor = min([at - radius, *whiskers]) - 7, "end"
        where = f'x="{place:.1f}" y="{up + 4:.1f}" text-anchor="{anchor}"'
        parts.append(f'<text class="label" {where}>{escape(mark.name)}</text>')
    return "".join(parts)


def _free_labels(marks: Sequence[Mark], x: Scale, y: Scale, largest: int) -> str:
    """Names where they cover the least, near their bubbles, with a thin line to those that lie apart."""
    circles = [(x(mark.latency), y(mark.height), _radius(mark, largest)) for mark in marks]
    covered: list[tuple[float, _Box]] = []
    for mark, (at, up, radius) in zip(marks, circles, strict=True):
        covered.append((1.0, (at - radius, at + radius, up - radius, up + radius)))
        covered.append((20.0, (at - 5, at + 5, up - 5, up + 5)))
        if mark.interval is not None:
            covered.append((6.0, (at - 3, at + 3, y(mark.interval.high), y(mark.interval.low))))
    parts: list[str] = []
    for mark, (at, up, radius) in sorted(zip(marks, circles, strict=True), key=lambda pair: pair[1][0]):
        width = _LETTER * len(mark.name)

        def cost(place: tuple[float, _Box]) -> float:
            return place[0] + sum(weight * _overlap(place[1], other) for weight, other in covered)

        gap, box = min(_places(at, up, radius, width, x, y), key=cost)
        covered.append((40.0, box))
        middle = (box[0] + box[1]) / 2, (box[2] + box[3]) / 2
        if gap > 0:
            end = min(max(at, box[0]), box[1]), box[2] if middle[1] > up else box[3]
            parts.append(
                f'<line class="leader" x1="{at:.1f}" y1="{up:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"/>'
            )
        where = f'x="{middle[0]:.1f}" y="{box[3] - 4:.1f}" text-anchor="middle"'
        parts.append(f'<text class="label" {where}>{escape(mark.name)}</text>')
    return "".join(parts)


def _places(
    at: float, up: float, radius: float, width: float, x: Scale, y: Scale
) -> Iterator[tuple[float, _Box]]:
    """Boxes for a name around a bubble inside the frame, with the gap between them, nearest first."""
    for gap in (0.0, 16.0, 32.0, 48.0, 64.0, 80.0):
        for sixteenth in range(16):
            angle = math.pi * sixteenth / 8
            far = radius + 3 + gap
            middle = at + math.cos(angle) * (far + width / 2), up - math.sin(angle) * (far + _LINE / 2)
            box = middle[0] - width / 2, middle[0] + width / 2, middle[1] - _LINE / 2, middle[1] + _LINE / 2
            if x.start <= box[0] and box[1] <= WIDTH and y.end <= box[2] and box[3] <= y.start:
                yield 4 * gap, box
    # A frame too small for any of them still shows the name.
    yield math.inf, (WIDTH - width, WIDTH, y.end, y.end + _LINE)


def _overlap(one: _Box, other: _Box) -> float:
    """Area that two boxes share."""
    across = min(one[1], other[1]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[2], other[2])
    return max(0.0, across) * max(0.0, down)


def _radius(mark: Mark, largest: int) -> float:
    return max(_SMALLEST, _LARGEST * math.sqrt(mark.bytes / largest))


def _whisker(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="whisker" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
