"""What `/models` tells of the run: from its results.json, from the bundle alone, or nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compressor.report.results import Results
from compressor.runtime.manifest import read_manifest
from compressor.runtime.schema import MANIFEST
from serving.models import Models
from serving.points import Point, points_of
from serving.report import report_of
from serving.settings import Settings
from tests.report.fixture import small
from tests.serving.runs import figures, home_of


def told(bundle: Path, precision: str = "fp32") -> dict[str, Any] | None:
    return report_of(bundle, read_manifest(bundle), precision)


def named(points: list[dict[str, Any]], measure: str) -> dict[str, dict[str, Any]]:
    return {point["name"]: point for point in points if point["measure"] == measure}


def test_models_and_precisions_are_the_figures_of_the_run(exported: Path, tmp_path: Path) -> None:
    results = figures()
    report = told(home_of(exported, tmp_path, results))
    assert report is not None
    assert (report["run"], report["split"], report["rehearsal"]) == ("quickstart", "test", False)
    models, precisions = named(report["points"], "rsum"), named(report["points"], "recall_delta")
    student = results.retrieval["student"]
    assert student is not None
    assert results.towers is not None
    assert results.towers.pair.student is not None
    assert models["student"]["quality"] == student.rsum
    assert models["student"]["quality_interval"] == student.rsum_interval.model_dump()  # type: ignore[union-attr]
    assert models["student"]["latency_ms"] == results.towers.pair.student.p50_ms
    assert models["student"]["bytes"] == results.size.student.bytes  # type: ignore[union-attr]
    assert [name for name, point in models.items() if point["served"]] == ["student"]
    assert precisions["int8"] == {
        "name": "int8",
        "role": "student",
        "precision": "int8",
        "measure": "recall_delta",
        "quality": 0.1,
        "quality_interval": {"low": -0.1, "high": pytest.approx(0.3)},
        "latency_ms": pytest.approx(1.35),
        "latency_interval": None,
        "bytes": 1_350_000,
        "pareto": True,
        "served": False,
    }
    assert [name for name, point in precisions.items() if not point["pareto"]] == ["fp32"], "int8 beats it"
    assert [name for name, point in precisions.items() if point["served"]] == ["fp32"]


def test_goals_say_by_how_much(exported: Path, tmp_path: Path) -> None:
    report = told(home_of(exported, tmp_path, figures()))
    assert report is not None
    assert [(goal["verdict"], goal["bound"], goal["margin"]) for goal in report["goals"]] == [
        ("met", 0.95, pytest.approx(0.02)),
        ("missed", 0.25, pytest.approx(-0.05)),
        ("not judged", 9.0, None),
    ]


def test_a_bundle_that_left_its_run_tells_what_it_carries(exported: Path, tmp_path: Path) -> None:
    bundle = home_of(exported, tmp_path, figures())
    within = told(bundle)
    (tmp_path / "results.json").unlink()
    alone = told(bundle)
    assert within is not None
    assert alone is not None
    assert alone["points"] == [point for point in within["points"] if point["measure"] == "rsum"]
    assert {**alone, "points": []} == {**within, "points": []}


def test_a_search_for_precisions_is_told_by_the_bundle_alone(exported: Path, tmp_path: Path) -> None:
    bundle = home_of(exported, tmp_path, figures())
    (tmp_path / "results.json").unlink()
    manifest = json.loads((bundle / MANIFEST).read_text())
    found = {"image_ms": 2.0, "text_ms": 1.0, "ratio": 1.0, "ratio_interval": [1, 1], "bytes": 7}
    manifest["search"] = {"threads": 1, "provider": "CPU", "candidates": {"fp32": found}, "winners": {}}
    manifest["artifacts"]["fp32"] |= {"recall_delta": 0.0, "recall_delta_interval": [-0.1, 0.1]}
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    report = told(bundle)
    assert report is not None
    (point,) = named(report["points"], "recall_delta").values()
    assert (point["latency_ms"], point["quality_interval"]) == (3.0, {"low": -0.1, "high": 0.1})
    artifact = manifest["artifacts"]["fp32"]
    assert point["bytes"] == sum(artifact[tower]["file"]["bytes"] for tower in ("image", "text"))


def test_a_teacher_finds_the_run_it_taught(exported: Path, tmp_path: Path) -> None:
    report = told(home_of(exported, tmp_path, figures(), role="teacher"))
    assert report is not None
    assert [point["name"] for point in report["points"] if point["served"]] == ["teacher"]


@pytest.mark.parametrize(
    "content", ["", "{}", "[1, 2]", '{"name": "quickstart", "recipe": {}}', "\x00", None]
)
def test_a_file_that_is_no_result_of_this_bundle_is_passed_over(
    exported: Path,
    tmp_path: Path,
    content: str | None,
) -> None:
    bundle = home_of(exported, tmp_path, figures())
    other = figures(goals=[]).model_dump_json() if content is None else content
    (tmp_path / "results.json").write_text(other)
    report = told(bundle)
    assert report is not None
    assert len(report["goals"]) == 3, "the bundle's own"


def test_without_a_run_there_is_no_report(exported: Path, settings: Settings) -> None:
    models = Models({"toy": exported}, settings)
    assert "report" not in models.get("toy").described()
    models.close()


def test_figures_of_a_later_version_are_no_report(exported: Path, tmp_path: Path) -> None:
    bundle = home_of(exported, tmp_path, figures())
    (tmp_path / "results.json").unlink()
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["results"]["quality"]["student"] = {"something": "new"}
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    assert told(bundle) is None


def test_a_rehearsal_has_no_points(exported: Path, tmp_path: Path) -> None:
    report = told(home_of(exported, tmp_path, figures(rehearsal=True)))
    assert report is not None
    assert (report["rehearsal"], report["points"], report["retention"]) == (True, [], None)


def one(results: Results, name: str) -> Point:
    return next(point for point in points_of(results) if point.name == name)


def test_a_cost_is_never_that_of_another_precision() -> None:
    agreeing = small("int8_static")
    assert agreeing.towers is not None
    assert one(agreeing, "student").bytes == 1_080_000
    assert one(agreeing, "student").latency_ms == agreeing.towers.pair.student.p50_ms  # type: ignore[union-attr]
    assert agreeing.latency is not None
    agreeing.latency.precision = "fp32"
    assert one(agreeing, "student").latency_ms is None
    assert one(figures(quality={"student": agreeing.quality["student"]}), "student").bytes is None


def test_a_model_that_was_not_timed_beats_nothing() -> None:
    timed = one(figures(), "student")
    untimed = Point("teacher", "teacher", "fp32", "rsum", 600.0, None, None, None, None)
    assert not untimed.beats(timed)
    assert not timed.beats(untimed)
    assert not timed.beats(timed)
