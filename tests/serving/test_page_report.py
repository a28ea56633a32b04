"""The run's plot and goals on the page, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.models import Models
from serving.settings import Settings
from tests.serving.browsing import CHROMIUM, address, say_what_is_not_verified, tab  # noqa: F401
from tests.serving.chromium import Tab
from tests.serving.runs import figures, home_of

PLOTS = "document.querySelectorAll('.chart svg').length"


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"gallery": str(tmp_path / "gallery")})


@pytest.fixture
def results() -> Any:
    return figures()


@pytest.fixture
def models(exported: Path, settings: Settings, tmp_path: Path, results: Any) -> Iterator[Models]:
    student = home_of(exported, tmp_path / "run", results)
    teacher = home_of(exported, tmp_path / "run", results, role="teacher")
    models = Models({"student": student, "teacher": teacher}, settings)
    yield models
    models.close()


def texts(tab: Tab, selector: str) -> list[str]:  # noqa: F811
    found = tab.run(f"[...document.querySelectorAll({selector!r})].map(e => e.textContent)")
    assert isinstance(found, list)
    return found


if CHROMIUM is None:

    def test_there_is_no_browser_to_verify_the_report_with() -> None:
        say_what_is_not_verified("the report")

else:

    def test_the_plot_marks_what_is_served_and_goals_say_by_how_much(tab: Tab, address: str) -> None:
        tab.open(address)
        tab.until(f"{PLOTS} == 2")
        assert len(texts(tab, ".run")) == 1, "teacher and student are of one run"
        assert texts(tab, ".goals li") == [
            "retention.rsum >= 0.95✓ met: 0.970, 0.0200 to spare",
            "latency.p50_ratio <= 0.25✗ missed: 0.300, 0.0500 short",
            "latency.pair.teacher.p50_ms <= 9not judged: no teacher",
        ]
        assert "Goals met: 1 of 3." in texts(tab, ".run > p")[0]
        models, precisions = tab.run(
            "[...document.querySelectorAll('.chart svg')].map(s => [s.querySelectorAll('.bubble').length,"
            " [...s.querySelectorAll('.label.served')].map(t => t.textContent).sort(),"
            " s.querySelectorAll('.ring').length, s.querySelectorAll('.beaten').length])"
        )
        assert models[1:3] == [["student", "teacher"], 2]
        assert precisions == [3, ["fp32"], 1, 1], "int8 beats fp32"
        spoken = tab.run("document.querySelectorAll('.chart svg')[1].ariaLabel")
        assert "int8, Recall change in points +0.10 (−0.10 to +0.30), 1.35\u00a0ms, 1.35\u00a0MB" in spoken
        assert tab.problems == []

    def test_the_same_figures_are_a_table_that_keys_open_and_scroll(tab: Tab, address: str) -> None:
        tab.open(address)
        tab.until(f"{PLOTS} == 2")
        tab.run("document.querySelectorAll('summary')[1].focus()")
        tab.press("Enter", "\r", 13)
        rows = tab.until(
            "[...document.querySelectorAll('details[open] tr')]"
            ".map(row => [...row.cells].map(cell => cell.textContent))"
        )
        assert rows[0] == ["Name", "Note", "Quality", "95 % interval", "p50", "Size"]
        assert rows[1] == ["fp32", "served, beaten", "0.00", "−0.20 to +0.20", "2.10\u00a0ms", "3.60\u00a0MB"]
        assert rows[2] == ["int8", "", "+0.10", "−0.10 to +0.30", "1.35\u00a0ms", "1.35\u00a0MB"]
        tab.press("Tab", "\t", 9)
        assert tab.run("document.activeElement.ariaLabel") == "Table: Precisions of the student"

    @pytest.mark.parametrize("width", [320, 390])
    def test_a_phone_shows_it_without_scrolling_sideways(tab: Tab, address: str, width: int) -> None:
        tab.open(address)
        tab.until(f"{PLOTS} == 2")
        tab.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=700, deviceScaleFactor=1, mobile=True
        )
        tab.until(f"[...document.querySelectorAll('.chart svg')].every(s => s.clientWidth < {width})")
        tab.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert tab.run("document.documentElement.scrollWidth") == width
        outside = (
            "[...document.querySelectorAll('.chart text')].filter(t => {"
            " const s = t.ownerSVGElement;"
            " const [a, b] = [t.getBoundingClientRect(), s.getBoundingClientRect()];"
            " return a.left < b.left || a.right > b.right || a.top < b.top || a.bottom > b.bottom;"
            "}).map(t => t.textContent)"
        )
        assert tab.run(outside) == []

    @pytest.mark.parametrize("results", [figures(rehearsal=True)])
    def test_a_rehearsal_is_said_to_be_one(tab: Tab, address: str) -> None:
        tab.open(address)
        tab.until("document.querySelectorAll('.run').length")
        assert "A rehearsal with random weights" in texts(tab, ".run > p")[0]
        assert tab.run(PLOTS) == 0
