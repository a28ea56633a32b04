"""Bubbles on a chart: a quality over a latency, the area what it takes on disk, whiskers for intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
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

    Names stand beside the bubbles, or, where there are many (`crowded`), at the corner that
    is most free.
    """
    largest = max((mark.bytes for mark in marks), default=0) or 1
    drawn = [_bubble(mark, x, y, largest) for mark in marks]
    labels = _corner_labels if crowded else _labels
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


def _corner_labels(marks: Sequence[Mark], x: Scale, y: Scale, largest: int) -> str:
    """Names at the corner of their bubbles that covers the fewest other bubbles and names."""
    circles = [(x(mark.latency), y(mark.height), _radius(mark, largest)) for mark in marks]
    covered: list[_Box] = [(at - r, at + r, up - r, up + r) for at, up, r in circles]
    whiskers = [
        (x(mark.latency) - 2, x(mark.latency) + 2, y(mark.interval.high), y(mark.interval.low))
        for mark in marks
        if mark.interval is not None
    ]
    parts: list[str] = []
    for number, (mark, (at, up, radius)) in enumerate(zip(marks, circles, strict=True)):
        width, corner = _LETTER * len(mark.name), 0.75 * radius + 3
        others = [*covered[:number], *covered[number + 1 :], *whiskers]
        places = [
            (left, left + width, top, top + _LINE)
            for top in (up - corner - _LINE, up + corner)
            for left in (at + corner, at - corner - width)
            if 0 <= left <= WIDTH - width
        ]
        box = min(places, key=lambda place: sum(_overlap(place, other) for other in others))
        covered.append(box)
        where = f'x="{box[0]:.1f}" y="{box[3] - 4:.1f}" text-anchor="start"'
        parts.append(f'<text class="label" {where}>{escape(mark.name)}</text>')
    return "".join(parts)


def _overlap(one: _Box, other: _Box) -> float:
    """Area that two boxes share."""
    across = min(one[1], other[1]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[2], other[2])
    return max(0.0, across) * max(0.0, down)


def _radius(mark: Mark, largest: int) -> float:
    return max(_SMALLEST, _LARGEST * math.sqrt(mark.bytes / largest))


def _whisker(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="whisker" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
