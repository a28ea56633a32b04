"""What a finished run leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from compressor.runtime.bundle import Bundle
from tests.integration.conftest import GOALS, STAGES, Finished
from tests.integration.photos import encoded, scenes


def test_it_ends_well_and_says_one_json_document(finished: Finished) -> None:
    assert finished.code == 0, finished.err
    document = json.loads(finished.out)
    assert document == json.loads(finished.folder.results.read_text())
    events = [json.loads(line) for line in finished.err.splitlines()]
    assert [event["name"] for event in events if event["event"] == "stage"] == STAGES
    assert [event["name"] for event in events if event["event"] == "finished"] == STAGES


def test_results_fit_the_published_schema(finished: Finished) -> None:
    schema = json.loads(Path("docs/results.schema.json").read_text())
    jsonschema.validate(json.loads(finished.folder.results.read_text()), schema)


def _key_paths() -> list[str]:
    roles = ("teacher", "student", "control")
    recalls = [f"{way}_{recall}" for way in ("i2t", "t2i") for recall in ("r1", "r5", "r10")]
    paths = [f"quality.{role}.{name}" for role in roles for name in (*recalls, "rsum")]
    paths += [
        f"latency.{what}.{role}.p50_ms"
        for what in ("image", "text", "pair")
        for role in ("teacher", "student")
    ]
    for precision in ("fp32", "int8"):
        paths += [
            f"artifacts.{precision}.{tower}.{figure}"
            for tower in ("image", "text")
            for figure in ("cosine", "p50_ms", "bytes")
        ]
        paths.append(f"artifacts.{precision}.recall_delta")
    paths += [
        f"size.{role}.{figure}" for role in ("teacher", "student") for figure in ("parameters", "bytes")
    ]
    return [
        *paths,
        "retention.rsum",
        "retention.student_minus_control",
        "retention.artifact_rsum",
        "latency.p50_ratio",
        "size.parameter_ratio",
        "size.bytes_ratio",
    ]


@pytest.mark.parametrize("path", _key_paths())
def test_every_figure_that_goals_may_name_is_there(finished: Finished, path: str) -> None:
    found: Any = json.loads(finished.folder.results.read_text())
    for part in path.split("."):
        found = found[part]
    assert isinstance(found, int | float)
    assert np.isfinite(found)


def test_figures_agree_with_each_other(finished: Finished) -> None:
    results = finished.results
    quality = results.quality
    teacher, student, control = quality["teacher"], quality["student"], quality["control"]
    assert teacher is not None
    assert student is not None
    assert control is not None
    assert results.retention is not None
    assert results.retention.rsum == pytest.approx(student.rsum / teacher.rsum)
    assert results.retention.student_minus_control == pytest.approx(student.rsum - control.rsum)
    for one in (teacher, student, control):
        recalls = (one.i2t_r1, one.i2t_r5, one.i2t_r10, one.t2i_r1, one.t2i_r5, one.t2i_r10)
        assert one.rsum == pytest.approx(sum(recalls))
        assert (one.images, one.captions) == (16, 80)
    size = results.size
    assert size.student is not None
    assert size.teacher is not None
    assert size.parameter_ratio == pytest.approx(size.student.parameters / size.teacher.parameters)
    assert size.parameter_ratio < 1
    on_disk = sum(
        (finished.folder.bundle / "fp32" / f"{tower}.onnx").stat().st_size for tower in ("image", "text")
    )
    assert size.student.bytes == on_disk
    assert results.artifacts["fp32"].status == "passed"
    assert results.data["train"] == {"images": 48, "captions": 240, "bad_images": 0}
    assert set(results.stages) == set(STAGES) - {"report"}


def test_goals_are_judged(finished: Finished) -> None:
    assert [(goal.goal, goal.verdict) for goal in finished.results.goals] == [(goal, "met") for goal in GOALS]


class Loads(HTMLParser):
    """Collects what a browser would fetch when it opens a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.pictures = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            fetched = name in ("src", "srcset", "data", "poster", "action", "background", "xlink:href")
            if (fetched or (name == "href" and tag not in ("a", "area"))) and value:
                self.pictures += value.startswith("data:image/")
                if not value.startswith(("data:", "#")):
                    self.found.append(f"{tag} {name}={value}")


def test_the_report_is_one_file_that_fetches_nothing(finished: Finished) -> None:
    text = (finished.folder.root / "report.html").read_text(encoding="utf-8")
    page = Loads()
    page.feed(text)
    assert page.found == []
    assert page.pictures >= 2, "example retrievals are shown as pictures"
    assert "@import" not in text
    assert "url(http" not in text.replace('"', "").replace("'", "")
    assert "<script src" not in text
    for word in ("teacher", "student", "control", "fp32", "int8"):
        assert word in text.lower()


def test_the_report_is_there_as_text_and_with_a_model_card(finished: Finished) -> None:
    results = finished.results
    student = results.quality["student"]
    assert student is not None
    text = (finished.folder.root / "report.md").read_text(encoding="utf-8")
    assert f"{student.rsum:.1f}" in text
    card = (finished.folder.root / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "tiny" in card


def test_the_log_tells_every_stage(finished: Finished) -> None:
    log = finished.folder.log.read_text()
    for stage in STAGES:
        assert f"{stage}: started" in log
        assert f"{stage}: finished" in log
    assert "ERROR" not in log


def test_the_bundle_is_all_that_a_device_needs(finished: Finished, tmp_path: Path) -> None:
    """Another process opens it without torch and gives the same vectors."""
    image, captions = scenes("test", 1)[0]
    (tmp_path / "picture.png").write_bytes(encoded(image))
    script = (
        "import sys, json, pathlib\n"
        "import compressor\n"
        "bundle = compressor.Bundle.open(sys.argv[1])\n"
        "rows = bundle.encode_images([pathlib.Path(sys.argv[2]).read_bytes()])\n"
        "texts = bundle.encode_texts([sys.argv[3], ''])\n"
        "heavy = {'torch', 'transformers', 'timm', 'onnx'} & set(sys.modules)\n"
        "print(json.dumps([rows.tolist(), texts.tolist(), sorted(heavy)]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, finished.folder.bundle, tmp_path / "picture.png", captions[0]],
        capture_output=True,
        text=True,
        check=True,
    )
    rows, texts, heavy = json.loads(done.stdout)
    assert heavy == []
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-4)
    here = Bundle.open(finished.folder.bundle)
    assert here.manifest.role == "student"
    np.testing.assert_allclose(rows, here.encode_images([image]), atol=1e-5)
    np.testing.assert_allclose(texts, here.encode_texts([captions[0], ""]), atol=1e-5)


def test_the_bundle_is_the_trained_student(finished: Finished) -> None:
    from compressor.export.pytorch import TorchEncoder
    from compressor.students.checkpoint import load_checkpoint

    pictures, captions = zip(*scenes("test", 6), strict=True)
    trained = TorchEncoder(load_checkpoint(finished.folder.checkpoint))
    bundle = Bundle.open(finished.folder.bundle)
    np.testing.assert_allclose(bundle.encode_images(pictures), trained.encode_images(pictures), atol=1e-5)
    texts = [texts[0] for texts in captions]
    np.testing.assert_allclose(bundle.encode_texts(texts), trained.encode_texts(texts), atol=1e-5)


def test_curves_say_every_loss_and_every_weight(finished: Finished) -> None:
    curve = finished.folder.root / finished.results.training["student"]["curve"]
    records = [json.loads(line) for line in curve.read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5, 6]
    for record in records:
        assert set(record["losses"]) == set(record["weights"]) == {"contrastive", "feature"}
    assert [record["step"] for record in records if "validation" in record] == [3, 6]
    assert list(curve.parent.rglob("events.out.tfevents.*")), "TensorBoard is on by default"


def test_nothing_is_pickled_and_nothing_is_left_behind(finished: Finished) -> None:
    names = [file.name for file in finished.home.rglob("*") if file.is_file()]
    assert not [name for name in names if name.endswith((".pt", ".pth", ".bin.tmp", ".pkl"))]
    assert not [name for name in names if ".tmp-" in name]
