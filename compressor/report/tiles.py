"""The four figures at the head of a report: quality, latency, size, goals. Each with its models as bars."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from compressor.report import numbers as n
from compressor.report.results import Results
from compressor.report.tables import ROLES

Bar = tuple[str, float, str]
"""Role, length in any unit, the figure as text."""


def tiles(results: Results) -> str:
    """The row of tiles as HTML."""
    return f'<div class="tiles">{_quality(results)}{_latency(results)}{_size(results)}{_goals(results)}</div>'


def _quality(results: Results) -> str:
    if results.rehearsal:
        return _tile("RSUM kept", n.NOT_JUDGED, "a rehearsal has random weights", "")
    kept = results.retention
    bars = [
        (role, q.rsum, n.points(q.rsum)) for role in ROLES if (q := results.quality.get(role)) is not None
    ]
    share = kept.rsum if kept else None
    about = (
        f"95 % interval {n.span(kept.rsum_interval, n.percent)}"
        if kept and kept.rsum_interval
        else "RSUM, of 600"
    )
    return _tile("RSUM kept, student ÷ teacher", n.percent(share), about, _bars(bars))


def _latency(results: Results) -> str:
    latency = results.latency
    if latency is None:
        return _tile("Latency of a pair", n.NOT_AVAILABLE, "", "")
    timings = [("teacher", latency.pair.teacher), ("student", latency.pair.student)]
    bars = [(role, timing.p50_ms, n.milliseconds(timing.p50_ms)) for role, timing in timings if timing]
    interval = latency.p50_ratio_interval
    about = f"95 % interval {n.span(interval, n.percent)}" if interval else "one image and one text, p50"
    return _tile("Latency of a pair, student ÷ teacher", n.percent(latency.p50_ratio), about, _bars(bars))


def _size(results: Results) -> str:
    held = [("teacher", results.size.teacher), ("student", results.size.student)]
    bars = [(role, float(found.bytes), n.size(found.bytes)) for role, found in held if found]
    student = results.size.student
    about = f"{n.parameters(student.parameters)} parameters" if student else ""
    return _tile("Size on disk, student ÷ teacher", n.percent(results.size.bytes_ratio), about, _bars(bars))


def _goals(results: Results) -> str:
    verdicts = [goal.verdict for goal in results.goals]
    if not verdicts:
        return _tile("Goals", "none set", "the recipe names none", "")
    chips = {"met": ("good", "✓"), "missed": ("bad", "✕"), "not judged": ("muted", "–")}
    lines = "".join(
        f'<li>{verdict} <span class="chip {chips[verdict][0]}">{chips[verdict][1]} {verdicts.count(verdict)}</span></li>'
        for verdict in chips
        if verdict in verdicts
    )
    big = f"{verdicts.count('met')} of {len(verdicts)}"
    return _tile("Goals met", big, "", f'<ul class="verdicts">{lines}</ul>')


def _tile(title: str, big: str, about: str, below: str) -> str:
    none = " none" if big in (n.NOT_AVAILABLE, n.NOT_JUDGED, "none set") else ""
    return (
        f'<div class="tile"><h2>{escape(title)}</h2><p class="big{none}">{escape(big)}</p>'
        f'<p class="sub">{escape(about)}</p>{below}</div>'
    )


def _bars(bars: Sequence[Bar]) -> str:
    longest = max((length for _, length, _ in bars), default=0) or 1
    lines = "".join(
        f'<div class="c-{role}"><dt>{role}</dt><dd>{escape(text)}</dd>'
        f'<i aria-hidden="true"><b style="--w:{100 * length / longest:.1f}%"></b></i></div>'
        for role, length, text in bars
    )
    return f'<dl class="bars">{lines}</dl>' if lines else ""
