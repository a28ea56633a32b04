"""The four figures at the head of a report: quality, latency, size, goals. Each with its models as bars."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from compressor.report import numbers as n
from compressor.report.generation_tables import figure_of, main_figure
from compressor.report.results import Interval, Latency, Results
from compressor.report.tables import ROLES

Bar = tuple[str, float, str]
"""Role, length in any unit, the figure as text."""


def tiles(results: Results) -> str:
    """The row of tiles as HTML."""
    return f'<div class="tiles">{_quality(results)}{_latency(results)}{_size(results)}{_goals(results)}</div>'


def _written(results: Results) -> str:
    named = main_figure(results)
    if results.rehearsal or named is None:
        return _tile("Quality kept", n.NOT_JUDGED, "a rehearsal has random weights", "")
    name, label = named
    found = [(role, figure_of(results, role, name)) for role in ROLES]
    bars = [(role, value, n.points(value)) for role, value in found if value is not None]
    kept = getattr(results.retention, name, None)
    if kept is None:
        student = figure_of(results, "student", name)
        return _tile(f"{label} of the student", n.points(student), "", _bars(bars))
    intervals = getattr(results.retention, "intervals", {})
    return _tile(f"{label} kept", n.percent(kept), _of_teacher(intervals.get(name)), _bars(bars))


def _quality(results: Results) -> str:
    if results.writes:
        return _written(results)
    if results.rehearsal:
        return _tile("RSUM kept", n.NOT_JUDGED, "a rehearsal has random weights", "")
    kept, student = results.rsum_kept, results.retrieval.get("student")
    bars = [
        (role, q.rsum, n.points(q.rsum)) for role in ROLES if (q := results.retrieval.get(role)) is not None
    ]
    if kept is None or kept.rsum is None:
        return _tile(
            "RSUM of the student", n.points(student.rsum if student else None), "out of 600", _bars(bars)
        )
    return _tile("RSUM kept", n.percent(kept.rsum), _of_teacher(kept.rsum_interval), _bars(bars))


def _latency(results: Results) -> str:
    latency, title = results.latency, "Latency of a pair"
    if latency is None:
        return _tile(title, n.NOT_AVAILABLE, "", "")
    timed = latency.pair if isinstance(latency, Latency) else latency.generation
    title = title if isinstance(latency, Latency) else "Latency of one text"
    timings = [("teacher", timed.teacher), ("student", timed.student)]
    bars = [(role, timing.p50_ms, n.milliseconds(timing.p50_ms)) for role, timing in timings if timing]
    if latency.p50_ratio is None:
        student = timed.student
        return _tile(
            title,
            n.milliseconds(student.p50_ms if student else None),
            f"p50 of the student{n.at(latency.precision)}",
            _bars(bars),
        )
    about = _of_teacher(latency.p50_ratio_interval) + n.at(latency.precision, "\nstudent at {}")
    return _tile(title, n.percent(latency.p50_ratio), about, _bars(bars))


def _size(results: Results) -> str:
    held = [("teacher", results.size.teacher), ("student", results.size.student)]
    bars = [(role, float(found.bytes), n.size(found.bytes)) for role, found in held if found]
    student, share = results.size.student, results.size.bytes_ratio
    if student is None:
        return _tile("Size on disk", n.NOT_AVAILABLE, "", "")
    about = f"{n.parameters(student.parameters)} parameters at {student.precision}"
    if share is None:
        return _tile("Size on disk", n.size(student.bytes), f"of the student\n{about}", _bars(bars))
    return _tile("Size on disk", n.percent(share), f"of the teacher’s\n{about}", _bars(bars))


def _goals(results: Results) -> str:
    verdicts = [goal.verdict for goal in results.goals]
    if not verdicts:
        return _tile("Goals", "none set", "the recipe names none", "")
    chips = {"met": ("good", "✓"), "missed": ("bad", "✕"), "not judged": ("muted", "–")}
    lines = "".join(
        f'<li>{verdict} <span class="chip {tone}">{sign} {verdicts.count(verdict)}</span></li>'
        for verdict, (tone, sign) in chips.items()
        if verdict in verdicts
    )
    big = f"{verdicts.count('met')} of {len(verdicts)}"
    return _tile("Goals met", big, "", f'<ul class="verdicts">{lines}</ul>')


def _of_teacher(interval: Interval | None) -> str:
    return "of the teacher’s" + (f"\n95 % interval {n.percent_span(interval)}" if interval else "")


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
