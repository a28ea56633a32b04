"""Scales, ticks and the frame of a chart, written as SVG. Colours come from the page's style sheet."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 500, 310
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 14, 48


@dataclass(frozen=True)
class Scale:
    """A range of figures on a stretch of pixels, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (self._at(x) for x in (self.low, self.high, value))
        return self.start + (value - low) / ((high - low) or 1.0) * (self.end - self.start)

    def _at(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def ticks(self, wanted: int = 5) -> list[float]:
        """Round figures inside the range."""
        return log_ticks(self.low, self.high) if self.log else nice_ticks(self.low, self.high, wanted)


def nice_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten within [low, high], about `wanted` of them."""
    if high <= low:
        return [low]
    rough = (high - low) / max(wanted, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    steps = [power * factor for factor in (1, 2, 5, 10)]
    step = min(steps, key=lambda size: abs(math.log((high - low) / size / wanted)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 of every decade within [low, high]; powers of ten alone over more than four decades."""
    decades = math.log10(high) - math.log10(low)
    factors = (1,) if decades > 3 else (1, 2, 5)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [factor * 10.0**power for power in powers for factor in factors]
    inside = [tick for tick in found if low * 0.999 <= tick <= high * 1.001]
    return inside or [low]


def padded(values: Sequence[float], log: bool = False, share: float = 0.06) -> tuple[float, float]:
    """The range of the values with room at both ends; never empty."""
    low, high = min(values), max(values)
    if log:
        room = max(10.0 ** (share * (math.log10(high) - math.log10(low))), 1.12)
        return max(low / room, sys.float_info.min), min(high * room, sys.float_info.max)
    room = (high - low) * share or abs(high) * 0.05 or 1.0
    return low - room, high + room


def tick_text(value: float) -> str:
    """A tick's label, short."""
    if value == 0:
        return "0"
    if abs(value) >= 1_000_000:
        return f"{value / 1e6:g}M"
    if abs(value) >= 10_000:
        return f"{value / 1e3:g}k"
    if abs(value) < 0.001:
        return f"{value:.0e}".replace("e-0", "e-").replace("-", "−")
    return f"{value:g}".replace("-", "−")


def frame(x: Scale, y: Scale, x_label: str, y_label: str) -> str:
    """Grid lines, tick labels and the names of the axes."""
    parts = ['<g class="axes">']
    for tick in y.ticks():
        at = y(tick)
        parts.append(f'<line class="grid" x1="{x.start:.1f}" x2="{x.end:.1f}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(
            f'<text x="{x.start - 8:.1f}" y="{at + 4:.1f}" text-anchor="end">{tick_text(tick)}</text>'
        )
    for tick in x.ticks():
        at = x(tick)
        parts.append(
            f'<line class="tick" x1="{at:.1f}" x2="{at:.1f}" y1="{y.start:.1f}" y2="{y.start + 5:.1f}"/>'
        )
        parts.append(
            f'<text x="{at:.1f}" y="{y.start + 19:.1f}" text-anchor="middle">{tick_text(tick)}</text>'
        )
    parts.append(
        f'<line class="axis" x1="{x.start:.1f}" x2="{x.end:.1f}" y1="{y.start:.1f}" y2="{y.start:.1f}"/>'
    )
    middle = (x.start + x.end) / 2
    parts.append(
        f'<text class="name" x="{middle:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
    )
    across = (y.start + y.end) / 2
    parts.append(
        f'<text class="name" transform="translate(13 {across:.1f}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>"
    )
    return "".join([*parts, "</g>"])


def svg(identifier: str, title: str, description: str, body: str) -> str:
    """A picture that scales with the page and can be read aloud."""
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-labelledby="{identifier}-t {identifier}-d" xmlns="http://www.w3.org/2000/svg">'
        f'<title id="{identifier}-t">{escape(title)}</title>'
        f'<desc id="{identifier}-d">{escape(description)}</desc>'
        f"{body}</svg>"
    )
