"""Figures as people read them. A figure that does not exist is said so, never filled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from compressor.report.results import Interval

NOT_AVAILABLE = "not available"
NOT_JUDGED = "not judged"
_SPACE = "\u00a0"  # a figure and its unit stay on one line


def is_number(value: Any) -> bool:
    """True for an int or a float that is not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def points(value: float | None) -> str:
    """Percentage points or RSUM: `312.4`."""
    return NOT_AVAILABLE if value is None else _minus(f"{value:.1f}")


def signed_points(value: float | None, digits: int = 1) -> str:
    """A difference in points: `+24.1`."""
    return NOT_AVAILABLE if value is None else _minus(f"{value:+.{digits}f}")


def percent(share: float | None) -> str:
    """A share of one: `97.1 %`; two figures below ten, so that 0.83 % does not read 1 %."""
    if share is None:
        return NOT_AVAILABLE
    value = 100 * share
    return _minus(f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}") + f"{_SPACE}%"


def milliseconds(value: float | None) -> str:
    """Three figures: `0.456 ms`, `45.6 ms`, `2,345 ms`."""
    return NOT_AVAILABLE if value is None else f"{three_figures(value)}{_SPACE}ms"


def three_figures(value: float | None) -> str:
    """`0.456`, `4.56`, `45.6`, `456`, `2,345`."""
    if value is None:
        return NOT_AVAILABLE
    size = abs(value)
    digits = 0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.9995 else 3
    return _minus(f"{value:,.{digits}f}")


def count(value: Any) -> str:
    """`12,345`."""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else NOT_AVAILABLE


def threads(number: int) -> str:
    """`1 thread`, `2 threads`."""
    return "1 thread" if number == 1 else f"{number:,} threads"


def at(precision: str, words: str = " at {}") -> str:
    """` at int8_static`; nothing for fp32, at which all is meant that says nothing else."""
    return "" if precision == "fp32" else words.format(precision)


def parameters(value: int | None) -> str:
    """`1.42 M`, `428 M`."""
    if value is None:
        return NOT_AVAILABLE
    if value < 1_000_000:
        return f"{value / 1e3:.0f}{_SPACE}k"
    return f"{three_figures(value / 1e6)}{_SPACE}M"


def size(value: int | None) -> str:
    """Decimal megabytes: `5.68 MB`."""
    if value is None:
        return NOT_AVAILABLE
    if value < 1_000_000:
        return f"{value / 1e3:.0f}{_SPACE}kB"
    return f"{three_figures(value / 1e6)}{_SPACE}MB"


def duration(seconds: float | None) -> str:
    """`0.4 s`, `2 min 13 s`, `3 h 05 min`."""
    if seconds is None:
        return NOT_AVAILABLE
    if seconds < 59.95:
        return f"{seconds:.1f}{_SPACE}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}{_SPACE}min {whole % 60:02d}{_SPACE}s"
    return f"{whole // 3600}{_SPACE}h {whole % 3600 // 60:02d}{_SPACE}min"


def cosine(value: float | None) -> str:
    """Four decimals, five where it is that close to one."""
    if value is None:
        return NOT_AVAILABLE
    return _minus(f"{value:.5f}" if 0.9995 <= value < 0.999995 else f"{value:.4f}")


def percent_span(interval: Interval | None) -> str:
    """`96.2 to 98.0 %`."""
    if interval is None:
        return NOT_AVAILABLE
    unit = f"{_SPACE}%"
    return f"{percent(interval.low).removesuffix(unit)} to {percent(interval.high)}"


def rank(value: float) -> str:
    """`1`, `1.5`, `12.3`: whole ranks without decimals."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def span(interval: Interval | None, form: Callable[[float], str] = points) -> str:
    """`301.2 to 318.9`."""
    return NOT_AVAILABLE if interval is None else f"{form(interval.low)} to {form(interval.high)}"


def figure(value: Any) -> str:
    """Any figure of a goal: enough digits to see why it was met or missed."""
    if not is_number(value):
        return NOT_AVAILABLE
    if float(value).is_integer() and abs(value) < 1e15:
        return _minus(f"{int(value):,}")
    return _minus(f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.1f}")


def _minus(text: str) -> str:
    return text.replace("-", "\u2212")
