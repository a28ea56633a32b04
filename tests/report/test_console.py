from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from compressor.report.console import print_summary
from compressor.report.results import Results
from tests.report.fixture import run, small


def printed(results: Results, width: int = 160) -> str:
    stream = io.StringIO()
    print_summary(results, Path("runs/quickstart"), Console(file=stream, width=width))
    return stream.getvalue()


def test_the_summary_tells_quality_latency_size_goals_and_where_the_report_lies() -> None:
    shown = printed(run())
    for words in (
        "494.1",
        "0.971",
        "+48.7",
        "2.09 ms",
        "ratio 0.07",
        "0.86 M",
        "missed",
        "runs/quickstart/report.html",
    ):
        assert words in shown, words


def test_the_summary_of_a_run_with_nothing_but_a_student_claims_nothing_else() -> None:
    kept = {"rsum": None, "student_minus_control": None}
    for retention in (None, kept):
        shown = printed(run(retention=retention, latency=None, size={}, goals=[]))
        assert "494.1" in shown
        assert "keeps" not in shown
        assert "None" not in shown


def test_a_narrow_table_does_not_break_the_line_above_it_and_an_empty_one_is_not_shown() -> None:
    rehearsed = run(rehearsal=True)
    line = f"{rehearsed.name} (rehearsal: quality means nothing)"
    assert line in printed(rehearsed).splitlines()
    empty = printed(run(rehearsal=True, quality={}, retention=None)).splitlines()
    assert line in empty
    assert not any("┃" in each for each in empty), "headings without rows"


def test_the_summary_fits_a_terminal_of_80_columns() -> None:
    for results in (run(), small("openvino_int8_weights", "openvino")):
        shown = printed(results, 80)
        assert max(map(len, shown.splitlines())) <= 80
        assert "1 thread, " in shown
    assert "thread(s)" not in shown


def test_the_summary_names_a_precision_that_is_not_fp32() -> None:
    assert "the student’s figures are those at int8_static" in printed(small())
    assert "figures are those" not in printed(run())
