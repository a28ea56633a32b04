from __future__ import annotations

import re
from typing import Any

import pytest

from compressor.report.headline import headline
from compressor.report.html import html_report
from compressor.report.markdown import markdown_report
from compressor.report.precisions import precisions_figure, precisions_table
from compressor.report.results import Results
from tests.report.fixture import run


def tower(size: int, p50: float | None) -> dict[str, Any]:
    return {"cosine": 0.999, "worst_cosine": 0.99, "p50_ms": p50, "bytes": size, "status": "passed"}


def artifact(
    size: int, ms: float | None, delta: float, ratio: float | None, **changed: Any
) -> dict[str, Any]:
    return {
        "image": tower(size, ms),
        "text": tower(size, ms),
        "recall_delta": delta,
        "recall_delta_interval": {"low": delta - 0.3, "high": delta + 0.2},
        "overlap": 0.97,
        "pair_ratio": ratio,
        "status": "passed",
        "slower_than_fp32": ratio is not None and ratio > 1,
        **changed,
    }


def searched(**changed: Any) -> Results:
    artifacts = {
        "fp32": artifact(2_000_000, 1.0, 0.0, 1.0, beaten_by="int8"),
        "fp16": artifact(1_000_000, 1.2, 0.0, 1.21, beaten_by="int8", in_bundle=False),
        "int8": artifact(600_000, 0.5, 0.05, 0.5, wins=["fastest", "balanced"]),
        "int4_weights": artifact(400_000, 1.4, -0.4, 1.4),
        "int8_static": artifact(600_000, None, -9.0, None, status="failed", overlap=0.2),
    }
    return run(artifacts=artifacts, **changed)


def test_every_precision_has_a_row_with_its_figures_and_verdict() -> None:
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in precisions_table(searched()).rows}
    assert list(rows) == ["fp32 (default)", "fp16", "int8", "int4_weights", "int8_static"]
    assert rows["int8"][1:] == [
        "0.50",
        "+0.05",
        "−0.25 to +0.25",
        "97.0\N{NO-BREAK SPACE}%",
        "✓ fastest, balanced",
    ]
    assert rows["fp32 (default)"][-1] == "– beaten by int8"
    assert rows["fp16"][-1] == "– slower than fp32, left out"
    assert rows["int4_weights"][-1] == "– slower than fp32"
    assert rows["int8_static"][-1] == "✕ failed"
    assert rows["int8_static"][1] == "not available"


def test_what_differs_in_nothing_has_no_interval() -> None:
    same = {"recall_delta_interval": {"low": 0.0, "high": -0.001}}
    found = {"fp32": artifact(2_000_000, 1.0, 0.0, 1.0, **same), "int8": artifact(600_000, 0.5, 0.1, 0.5)}
    rows = precisions_table(run(artifacts=found)).rows
    assert [row[4].text for row in rows] == ["–", "−0.20 to +0.30"]


def test_the_lead_counts_only_what_is_in_the_bundle() -> None:
    (told,) = [each for each in headline(searched()).remarks if "exported artifacts" in each]
    assert "int4_weights is slower than fp32" in told
    assert "fp16" not in told


def test_a_rehearsal_judges_no_quality() -> None:
    rows = precisions_table(searched(rehearsal=True)).rows
    assert {cell.text for row in rows for cell in row[3:6]} == {"not judged"}
    assert precisions_figure(searched(rehearsal=True)) is None


def test_the_chart_has_a_bubble_for_each_that_was_timed_as_large_as_its_size() -> None:
    figure = precisions_figure(searched())
    assert figure is not None
    radii = [float(found) for found in re.findall(r'class="bubble"[^>]* r="([0-9.]+)"', figure.picture)]
    assert len(radii) == 4
    areas = [radius**2 for radius in radii]
    assert areas[2] / areas[0] == pytest.approx(0.3, rel=0.02)
    assert "int8: +0.05 points at 1.00\N{NO-BREAK SPACE}ms" in figure.picture
    styles = re.findall(r'<g class="(s\d)">', figure.picture)
    assert styles == ["s6", "s2", "s1", "s2"], "what is slower and beaten is shown as slower"
    labels = re.findall(r'class="label"[^>]*>([^<]+)<', figure.picture)
    assert sorted(labels) == ["fp16", "fp32", "int4_weights", "int8"]
    assert dict(figure.legend) == {
        "s1": "worth having",
        "s2": "slower than fp32",
        "s6": "beaten by another",
    }


def test_without_a_search_there_is_neither_chart_nor_table_of_what_was_not_measured() -> None:
    assert precisions_figure(run()) is None
    assert precisions_table(run()).rows == ()


def test_both_reports_show_the_precisions() -> None:
    results = searched()
    page, text = html_report(results, {}), markdown_report(results, {})
    assert page.count("Precisions compared") == 2  # the label of the region and the caption
    assert "Precisions: quality against latency" in page
    assert "✓ fastest, balanced" in text
    assert "Precisions compared" not in markdown_report(run(), {})
