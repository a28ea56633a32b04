"""What is shown while a run works, on a terminal, in a log, to a program."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console

from compressor.pipeline import progress
from compressor.pipeline.progress import JsonReporter, PlainReporter, QuietReporter, Reporter, RichReporter


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock.monotonic)
    return clock


def tell_a_run(reporter: Reporter) -> None:
    """Everything that a run tells, brackets included, which Rich could take for markup."""
    reporter.stage(1, 7, "teacher", "checkpoint [small]")
    reporter.finished("teacher", 1.234, "origin [unknown]")
    reporter.skipped(2, 7, "cache", "done before with the same inputs")
    reporter.stage(3, 7, "distill", "6 steps of feature")
    for step in range(7):
        reporter.work("distilling", step, 6, "feature 0.4  [100 img/s]")
    reporter.work("training without a teacher", 1, 0)
    reporter.note("1 of 9 train images are unusable and skipped; see run.log")
    reporter.finished("distill", 0.5, "done")
    reporter.close()
    reporter.close()


def console(width: int = 200, *, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal)


def text_of(shown: Console) -> str:
    assert isinstance(shown.file, io.StringIO)
    return shown.file.getvalue()


def test_plain_prints_stages_as_they_are(clock: Clock) -> None:
    shown = console()
    tell_a_run(PlainReporter(shown))
    lines = text_of(shown).splitlines()
    assert lines[0] == "[1/7] teacher: checkpoint [small]"
    assert lines[1] == "      done in 1.2 s  origin [unknown]"
    assert lines[2] == "[2/7] cache: skipped, done before with the same inputs"
    assert "      note: 1 of 9 train images are unusable and skipped; see run.log" in lines


def test_plain_prints_an_estimate_every_few_seconds(clock: Clock) -> None:
    shown = console()
    reporter = PlainReporter(shown, interval=5.0)
    for done in range(101):
        reporter.work("distilling", done, 100, "feature 0.4")
        clock.now += 0.125
    lines = text_of(shown).splitlines()
    assert lines[0] == "      distilling 40/100, 8 s left  feature 0.4"
    assert lines[-1] == "      distilling 100/100  feature 0.4"
    assert len(lines) == 3


def test_plain_starts_a_new_estimate_for_new_work(clock: Clock) -> None:
    shown = console()
    reporter = PlainReporter(shown, interval=5.0)
    reporter.work("decoding", 0, 10)
    clock.now += 1000
    reporter.work("distilling", 0, 10)
    clock.now += 6
    reporter.work("distilling", 2, 10)
    assert text_of(shown).splitlines() == ["      distilling 2/10, 24 s left"]


def test_plain_does_not_break_long_lines(clock: Clock) -> None:
    shown = console(width=40)
    PlainReporter(shown).stage(1, 7, "export", "word " * 40)
    assert len(text_of(shown).splitlines()) == 1


def test_json_writes_one_object_a_line_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    tell_a_run(JsonReporter())
    captured = capsys.readouterr()
    assert captured.out == ""
    events = [json.loads(line) for line in captured.err.splitlines()]
    assert events[0] == {
        "event": "stage",
        "number": 1,
        "total": 7,
        "name": "teacher",
        "about": "checkpoint [small]",
    }
    assert {event["event"] for event in events} == {"stage", "skipped", "work", "finished", "note"}
    assert [event["done"] for event in events if event.get("label") == "distilling"] == list(range(7))


@pytest.mark.parametrize("width", [20, 80, 200])
def test_rich_shows_a_run_on_a_terminal_of_any_width(width: int) -> None:
    shown = console(width, terminal=True)
    tell_a_run(RichReporter(shown))
    text = text_of(shown)
    assert "[1/7]" in text
    assert "[small]" in text
    assert "[unknown]" in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_narrow_terminal_cuts_the_losses_and_not_the_estimate(width: int) -> None:
    shown = console(width, terminal=True)
    reporter = RichReporter(shown)
    reporter.work("distilling", 400, 935, "contrastive 7.896  feature 0.054  similarity 0.116 " * 3)
    reporter.close()
    lines = re.split(r"[\r\n]", text_of(shown))
    assert any("400/935" in line and "contrastive" in line for line in lines)


def test_rich_leaves_the_cursor_visible_after_an_error() -> None:
    shown = console(80, terminal=True)
    reporter = RichReporter(shown)
    reporter.work("distilling", 1, 9)
    assert "\x1b[?25l" in text_of(shown), "the bar hides the cursor"
    reporter.close()
    assert text_of(shown).rindex("\x1b[?25h") > text_of(shown).rindex("\x1b[?25l")


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    tell_a_run(QuietReporter())
    assert capsys.readouterr() == ("", "")
