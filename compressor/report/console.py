"""The end of a run on a terminal: what was kept, what it costs, which goals are met."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compressor.report.generation_tables import written_table
from compressor.report.numbers import NOT_AVAILABLE, at, threads
from compressor.report.results import Interval, ModelQuality, Results
from compressor.report.tables import ROLES
from compressor.report.written_headline import terminal_lines

_LESSER = ("BLEU-1", "BLEU-2", "BLEU-3")
_COLOUR = {"met": "green", "missed": "red", "not judged": "yellow"}


def print_summary(results: Results, folder: Path, console: Console | None = None) -> None:
    """Print quality, latency, size and goals of a run, and where its report lies."""
    console = console or Console()
    console.print()
    rehearsed = " (rehearsal: quality means nothing)" if results.rehearsal else ""
    console.print(f"{results.name}{rehearsed}", highlight=False, markup=False, soft_wrap=True, style="italic")
    table = _written(results) if results.writes else _quality(results)
    if table.row_count:  # a rehearsed writer has no figures to show
        console.print(table)
    for line in [*(terminal_lines(results) if results.writes else []), *_facts(results)]:
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    for goal in results.goals:
        value = "" if goal.value is None else f" (measured {goal.value:.4g})"
        reason = f": {goal.reason}" if goal.reason else ""
        console.print(
            f"  [{_COLOUR[goal.verdict]}]{goal.verdict}[/]  {escape(goal.goal + value + reason)}",
            highlight=False,
        )
    console.print(f"  report  {folder / 'report.html'}", highlight=False, markup=False, soft_wrap=True)
    kept = f"model   {folder / 'checkpoint'}" if results.writes else f"bundle  {folder / 'bundle'}"
    console.print(f"  {kept}", highlight=False, markup=False, soft_wrap=True)


def _quality(results: Results) -> Table:
    table = Table()
    for heading in ("", "image to text R@1 / 5 / 10", "text to image R@1 / 5 / 10", "RSUM (95 % interval)"):
        table.add_column(heading, justify="right" if heading else "left")
    for role in ROLES:
        quality = results.retrieval.get(role)
        if quality is not None:
            table.add_row(role, *_row(quality))
    return table


def _written(results: Results) -> Table:
    """For a terminal of 80 columns: without BLEU below 4, and without metrics that nobody could compute."""
    told = written_table(results)
    table = Table()
    shown = []
    for place, column in enumerate(told.columns):
        cells = {row[place].text for row in told.rows}
        if column.name not in _LESSER and cells != {NOT_AVAILABLE}:
            shown.append(place)
            table.add_column(
                column.name, justify="right" if column.numeric else "left", no_wrap=not column.numeric
            )
    for row in told.rows:
        table.add_row(*(row[place].text for place in shown))
    return table


def _row(quality: ModelQuality) -> tuple[str, str, str]:
    i2t = f"{quality.i2t_r1:.1f} / {quality.i2t_r5:.1f} / {quality.i2t_r10:.1f}"
    t2i = f"{quality.t2i_r1:.1f} / {quality.t2i_r5:.1f} / {quality.t2i_r10:.1f}"
    return i2t, t2i, f"{quality.rsum:.1f}{_spread(quality.rsum_interval)}"


def _spread(interval: Interval | None, digits: int = 1) -> str:
    return "" if interval is None else f" ({interval.low:.{digits}f} to {interval.high:.{digits}f})"


def _facts(results: Results) -> list[str]:
    """What exists on this run, in lines for a terminal of 80 columns: retention, latency, size."""
    lines = []
    kept, student = results.rsum_kept, results.retrieval.get("student")
    if student is not None and at(student.precision):
        lines.append(f"the student’s figures are those{at(student.precision)}, its bundle’s default")
    if kept is not None and not results.rehearsal:
        if kept.rsum is not None:
            share = f"{kept.rsum:.3f}{_spread(kept.rsum_interval, 3)}"
            lines.append(f"the student keeps {share} of the teacher's RSUM")
        if kept.student_minus_control is not None:
            gain = f"{kept.student_minus_control:+.1f}{_spread(kept.student_minus_control_interval)}"
            lines.append(f"against the same student without a teacher: {gain} RSUM")
    latency = results.towers
    if latency is not None and latency.pair.student is not None:
        shown = f"one image and one text: student {latency.pair.student.p50_ms:.2f} ms"
        if latency.pair.teacher is not None:
            shown += f", teacher {latency.pair.teacher.p50_ms:.2f} ms"
        where = f"{threads(latency.threads)}, {latency.backend}"
        if latency.p50_ratio is None:
            lines.append(f"{shown} ({where})")
        else:
            ratio = f"ratio {latency.p50_ratio:.3f}{_spread(latency.p50_ratio_interval, 3)}"
            lines += [shown, f"  {ratio}, {where}"]
    size = results.size
    if size.student is not None:
        shown = f"student {size.student.parameters / 1e6:.2f} M parameters, {size.student.bytes / 1e6:.1f} MB"
        if size.teacher is not None and size.parameter_ratio is not None and size.bytes_ratio is not None:
            shown += f"; teacher {size.teacher.parameters / 1e6:.2f} M, {size.teacher.bytes / 1e6:.1f} MB"
            lines += [shown, f"  ratios {size.parameter_ratio:.4f} and {size.bytes_ratio:.4f}"]
        else:
            lines.append(shown)
    return lines
