"""`compressor evaluate`: a finished run's bundle on data that its recipe never saw."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from compressor.cli import main
from compressor.errors import BundleError, DataError, MissingResourceError
from compressor.pipeline.evaluation import evaluate_bundle
from compressor.pipeline.progress import QuietReporter
from tests.integration.conftest import Finished
from tests.integration.photos import unusual, write_folder, write_karpathy, write_table


def figures(finished: Finished, kind: str, **options: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "annotations": None,
        "images": None,
        "split": "test",
        "options": [],
        "precision": None,
        "threads": 1,
    }
    return evaluate_bundle(finished.folder.bundle, kind=kind, reporter=QuietReporter(), **(usual | options))


@pytest.fixture(scope="module")
def karpathy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_karpathy(tmp_path_factory.mktemp("karpathy"))


def test_the_command_writes_and_shows_the_figures(finished: Finished, karpathy: Path, tmp_path: Path) -> None:
    """As a process: nothing of torch is loaded for it."""
    script = (
        "import sys\n"
        "from compressor.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    arguments = ["evaluate", finished.folder.bundle, "--kind", "karpathy", "--annotations", karpathy]
    arguments += ["--images", karpathy.parent / "images", "--split", "test", "--json", tmp_path / "out.json"]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "test split" in done.stdout
    assert "12 images, 60 captions" in done.stdout
    written = json.loads((tmp_path / "out.json").read_text())
    assert (written["split"], written["precision"], written["bad_images"]) == ("test", "fp32", 0)
    schema = json.loads(Path("docs/results.schema.json").read_text())
    jsonschema.validate(written["quality"], {"$defs": schema["$defs"], "$ref": "#/$defs/ModelQuality"})


def test_every_format_gives_the_same_figures(finished: Finished, karpathy: Path, tmp_path: Path) -> None:
    images = karpathy.parent / "images"
    whole = figures(finished, "karpathy", annotations=karpathy, images=images)
    folder = figures(finished, "folder", images=write_folder(tmp_path / "folder"))
    table = figures(
        finished, "table", annotations=write_table(tmp_path), images=tmp_path / "photos", options=[]
    )
    scenes = figures(finished, "scenes", options=["image_size=32", "test=12"])
    assert whole["quality"]["images"] == 12
    for other in (folder, table, scenes):
        assert other["quality"] == whole["quality"]


def test_a_run_folder_stands_for_its_bundle_and_a_precision_can_be_chosen(
    finished: Finished, karpathy: Path
) -> None:
    found = evaluate_bundle(
        finished.folder.root,
        kind="karpathy",
        annotations=karpathy,
        images=karpathy.parent / "images",
        split="val",
        options=["limit.val=8"],
        precision="int8",
        threads=1,
        reporter=QuietReporter(),
    )
    assert (found["precision"], found["split"], found["quality"]["images"]) == ("int8", "val", 8)
    with pytest.raises(BundleError, match="has no precision 'fp16'"):
        figures(finished, "scenes", precision="fp16")


def test_it_agrees_with_the_run(finished: Finished) -> None:
    """The recipe's own test split gives the recipe's own figures."""
    found = figures(finished, "scenes", options=["image_size=32", "test=16"])
    student = finished.results.quality["student"]
    assert student is not None
    assert found["quality"]["rsum"] == pytest.approx(student.rsum)
    assert found["quality"]["i2t"] == pytest.approx(student.i2t.model_dump())


def test_unusual_pictures_are_read_and_bad_ones_counted(finished: Finished, tmp_path: Path) -> None:
    files = {f"test-{number}.png": content for number, content in enumerate(unusual().values())}
    files["test-11.png"] = b""
    annotations = write_karpathy(tmp_path, files=files)
    images = tmp_path / "images"
    found = figures(
        finished, "karpathy", annotations=annotations, images=images, options=["max_bad_fraction=0.1"]
    )
    assert (found["bad_images"], found["quality"]["images"]) == (1, 11)
    with pytest.raises(DataError, match="1 of 12 samples are unusable, more than"):
        figures(finished, "karpathy", annotations=annotations, images=images)


def test_missing_data_is_one_sentence(finished: Finished, tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match=r"absent\.json"):
        figures(finished, "karpathy", annotations=tmp_path / "absent.json", images=tmp_path)


def test_a_damaged_bundle_is_refused(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = shutil.copytree(finished.folder.bundle, tmp_path / "bundle")
    image = bundle / "fp32" / "image.onnx"
    content = bytearray(image.read_bytes())
    content[len(content) // 2] ^= 1
    image.write_bytes(content)
    monkeypatch.setattr(sys, "argv", ["compressor", "evaluate", str(bundle), "--kind", "scenes"])
    monkeypatch.setattr("compressor.cli.quieten_libraries", lambda: None)
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "fp32/image.onnx" in captured.err
