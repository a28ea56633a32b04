"""Whole runs over bad data: unusable pictures, captions that are not there, damaged run folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from compressor.errors import DataError, ModelError
from compressor.pipeline.folder import RunFolder
from compressor.pipeline.reporting import rewrite_report
from tests.integration.conftest import Finished, Run
from tests.integration.photos import unusable, unusual, write_karpathy


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Where `run` leaves its files."""
    return RunFolder(tmp_path / "runs" / "tiny")


def test_a_few_bad_images_are_named_and_left_out(run: Run, folder: RunFolder, tmp_path: Path) -> None:
    bad, odd = list(unusable().items()), list(unusual().items())
    files = {f"train-{number}.png": content for number, (_, content) in enumerate(bad + odd)}
    files |= {"test-3.png": b"", "val-2.png": b"not a picture"}
    write_karpathy(tmp_path / "photos", files=files)
    data = {"kind": "karpathy", "root": str(tmp_path / "photos"), "max_bad_fraction": 0.2}
    results = run(data=data)
    assert results is not None
    assert results.data["train"] == {"images": 28, "captions": 140, "bad_images": 4}
    assert results.data["val"]["bad_images"] == 1
    assert results.data["test"] == {"images": 11, "captions": 55, "bad_images": 1}
    log = folder.log.read_text()
    for number, (reason, _) in enumerate(bad):
        assert f"skipped train-{number}.png: " in log, reason
    assert "skipped test-3.png: the image is empty (0 bytes)" in log


def test_a_bad_image_at_the_front_does_not_stop_the_benchmark(run: Run, tmp_path: Path) -> None:
    write_karpathy(tmp_path / "photos", files={"test-0.png": b""})
    results = run(data={"kind": "karpathy", "root": str(tmp_path / "photos"), "max_bad_fraction": 0.2})
    assert results is not None
    assert results.data["test"]["bad_images"] == 1


def test_a_mended_picture_is_noticed_by_the_next_run(run: Run, folder: RunFolder, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    write_karpathy(root, files={"train-0.png": b""})
    data = {"kind": "karpathy", "root": str(root), "max_bad_fraction": 0.2}
    run(data=data, until="cache")
    before = folder.record("cache")
    write_karpathy(root)
    run(data=data, until="cache")
    after = folder.record("cache")
    assert before is not None
    assert after is not None
    assert before["key"] != after["key"]
    assert after["facts"] != before["facts"]


def _without_captions(root: Path, split: str, kept: int = 0) -> Path:
    """Photographs of which only the first `kept` of a split have captions."""
    file = write_karpathy(root)
    content = json.loads(file.read_text())
    for image in [image for image in content["images"] if image["split"] == split][kept:]:
        image["sentences"] = []
    file.write_text(json.dumps(content))
    return root


@pytest.mark.parametrize(("split", "kept"), [("val", 1), ("test", 0)])
def test_a_split_that_cannot_be_ranked_is_refused_before_any_work(
    run: Run, folder: RunFolder, tmp_path: Path, split: str, kept: int
) -> None:
    root = _without_captions(tmp_path / "photos", split, kept)
    with pytest.raises(DataError, match=f"the {split} split has {kept} pictures with captions"):
        run(data={"kind": "karpathy", "root": str(root)})
    assert folder.record("teacher") is None


def test_training_pictures_without_any_caption_are_refused_where_all_losses_need_them(
    run: Run, tmp_path: Path
) -> None:
    data = {"kind": "karpathy", "root": str(_without_captions(tmp_path / "photos", "train"))}
    with pytest.raises(DataError, match="the training pictures have no captions"):
        run("distill.losses=[{kind: task}]", data=data, until="distill")


def test_a_student_that_does_not_exist_is_refused_before_the_teacher_works(
    run: Run, folder: RunFolder
) -> None:
    with pytest.raises(ModelError, match="nope"):
        run("student.image.name=nope")
    assert folder.record("teacher") is None


def test_too_many_bad_images_stop_the_run_and_leave_nothing(
    run: Run, folder: RunFolder, tmp_path: Path
) -> None:
    files = {f"train-{number}.png": content for number, content in enumerate(unusable().values())}
    write_karpathy(tmp_path / "photos", files=files)
    data = {"kind": "karpathy", "root": str(tmp_path / "photos"), "max_bad_fraction": 0.1}
    with pytest.raises(DataError) as caught:
        run(data=data)
    message = str(caught.value)
    assert message.startswith("4 of 32 samples are unusable, more than data.max_bad_fraction = 0.1 allows")
    assert "train-0.png" in message
    assert "\n" not in message
    assert folder.record("cache") is None
    assert not list((folder.cache / "decoded").glob("*/pixels.bin"))
    data["max_bad_fraction"] = 0.2
    run(data=data, until="cache")
    assert folder.record("cache") is not None


@pytest.mark.parametrize("damage", [b"\x00\xff", b'{"step": 1', b"[1]\n"])
def test_a_damaged_curve_is_named_by_the_report(again: Finished, damage: bytes) -> None:
    facts = again.results.training["student"]
    curve = again.folder.root / facts["curve"]
    curve.write_bytes(damage)
    with pytest.raises(DataError, match=r"metrics\.jsonl is damaged"):
        rewrite_report(again.folder.root)


def test_a_report_reads_no_curve_outside_of_its_folder(again: Finished) -> None:
    text = again.folder.results.read_text()
    again.folder.results.write_text(text.replace(again.results.training["student"]["curve"], "/etc/passwd"))
    with pytest.raises(DataError, match="leads outside"):
        rewrite_report(again.folder.root)


def test_a_report_without_its_curves_is_drawn_without_them(again: Finished) -> None:
    shutil.rmtree(again.folder.training)
    assert again.folder.root / "report.html" in rewrite_report(again.folder.root)
