"""The bundle at the end of a run: it verifies, says what was measured, goes to a hub and comes back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import yaml
from huggingface_hub import CommitOperationAdd, HfApi

from compressor.errors import BundleError
from compressor.files import sha256_file
from compressor.pipeline.folder import RunFolder
from compressor.pipeline.publishing import add_documents, complete_bundle
from compressor.report.results import Results
from compressor.runtime.bundle import Bundle
from compressor.runtime.calibration import Calibration
from compressor.runtime.verify import verify_bundle
from tests.export.toys import write_toy_bundle
from tests.report.fixture import run as finished_run

CALIBRATION = Calibration(
    precision="fp32",
    split="val",
    images=100,
    matches=500,
    others=49_500,
    measured=(-0.1, 0.6),
    teacher=(-1, 0.0, 0.5, 1),
    student=(-1, 0.2, 0.6, 1),
    error={
        "folds": 5,
        "cosine": 0.02,
        "accepted": 1.0,
        "accepted_worst": 2.0,
        "matches": 1.5,
        "others": 0.5,
        "disagree": 4,
    },
)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle as the export stage leaves it."""
    folder = tmp_path_factory.mktemp("bare") / "bundle"
    write_toy_bundle(folder)
    return folder


def complete(bare: Path, root: Path, results: Results | None = None) -> tuple[RunFolder, list[Path]]:
    folder = RunFolder(root / "run")
    if not folder.bundle.exists():
        shutil.copytree(bare, folder.bundle)
        folder.finish("export", "key", [folder.bundle], 1.0, {})
    context: Any = SimpleNamespace(folder=folder)
    return folder, complete_bundle(context, results or finished_run(calibration=CALIBRATION))


@pytest.fixture
def bundle(bare: Path, tmp_path: Path) -> Path:
    return complete(bare, tmp_path)[0].bundle


def test_a_completed_bundle_verifies_and_the_export_still_stands(bare: Path, tmp_path: Path) -> None:
    folder, written = complete(bare, tmp_path)
    assert {path.name for path in written} == {"README.md", "LICENSE.md", "bundle.json"}
    assert verify_bundle(folder.bundle).files == 9
    assert folder.finished("export", "key")


def test_completing_again_gives_the_same_bytes(bare: Path, tmp_path: Path) -> None:
    folder, written = complete(bare, tmp_path)
    before = [sha256_file(path) for path in written]
    assert [sha256_file(path) for path in complete(bare, tmp_path)[1]] == before
    assert folder.finished("export", "key")


def test_bundle_json_tells_results_lineage_licences_and_calibration(bundle: Path) -> None:
    content = json.loads((bundle / "bundle.json").read_text())
    run = finished_run()
    assert content["schema_version"] == 2
    assert content["results"]["quality"]["student"]["rsum"] == run.retrieval["student"].rsum  # type: ignore[union-attr]
    assert content["results"]["latency"]["p50_ratio"] == run.latency.p50_ratio  # type: ignore[union-attr]
    assert "batches" not in content["results"]["latency"]
    assert content["lineage"]["git_revision"] == "9f2639b0c5b1"
    assert content["lineage"]["teacher"]["fingerprint"] == "5b1e77c0"
    assert content["lineage"]["recipe"] == "a test"
    assert content["licences"]["model"] == "none needed"
    assert content["licences"]["teacher"].startswith("scenes teacher: not recorded")
    assert content["licences"]["data"].startswith("drawn by this project's own generator")
    assert content["calibration"]["error"]["accepted"] == 1.0
    assert {entry["path"] for entry in content["documents"]} == {"README.md", "LICENSE.md"}


def test_scores_are_mapped_to_the_teachers_scale(bundle: Path) -> None:
    opened = Bundle.open(bundle, threads=1)
    assert opened.calibrated([[0.2, 0.4], [0.6, 1.0]]).tolist() == [[0.0, 0.25], [0.5, 1.0]]
    assert opened.manifest.calibration is not None
    assert float(opened.manifest.calibration.to_student(0.25)) == pytest.approx(0.4)


def test_a_rehearsal_tells_no_quality(bare: Path, tmp_path: Path) -> None:
    folder, _ = complete(bare, tmp_path, finished_run(rehearsal=True))
    results = json.loads((folder.bundle / "bundle.json").read_text())["results"]
    assert results["rehearsal"] is True
    assert not {"quality", "retention"} & set(results)


def test_a_run_without_a_bundle_has_nothing_to_complete(tmp_path: Path) -> None:
    context: Any = SimpleNamespace(folder=RunFolder(tmp_path / "run"))
    assert complete_bundle(context, finished_run()) == []


def test_the_card_is_one_that_the_hubs_library_reads(bundle: Path) -> None:
    """What can be checked offline: the hub's own check of the head is an endpoint of its server."""
    card = huggingface_hub.ModelCard.load(bundle / "README.md", ignore_metadata_errors=False)
    data = card.data
    assert (data.license, data.license_name, data.license_link) == (
        "other",
        "terms-of-teacher-and-data",
        "LICENSE.md",
    )
    assert (bundle / data.license_link).is_file()
    assert data.library_name == "onnx"
    assert data.pipeline_tag == "feature-extraction"
    assert "image-text-retrieval" in data.tags
    again = huggingface_hub.ModelCardData(**yaml.safe_load(data.to_yaml()), ignore_metadata_errors=False)
    assert {result.metric_name for result in again.eval_results} >= {"RSUM", "R@1 text to image"}
    assert all(isinstance(result.metric_value, float) for result in again.eval_results)


def test_the_card_tells_thresholds_licences_and_how_to_download(bundle: Path) -> None:
    text = (bundle / "README.md").read_text()
    for words in (
        "## Thresholds",
        "by 1.0 points on average",
        "## Licences",
        "--local-dir bundle",
        "100 validation",
    ):
        assert words in text
    assert "/home/someone" not in text
    assert "set thresholds anew" not in text
    assert "\n- data: drawn by" in (bundle / "LICENSE.md").read_text()


@pytest.mark.parametrize(
    ("teacher", "student", "base"),
    [
        ({"kind": "transformers", "name": "openai/clip-vit-large-patch14"}, {"kind": "inherit"}, True),
        ({"kind": "transformers", "name": "openai/clip-vit-large-patch14"}, {}, False),
        ({"kind": "transformers", "path": "/home/someone/clip"}, {"kind": "inherit"}, False),
        ({"kind": "transformers", "name": "../clip/model"}, {"kind": "inherit"}, False),
    ],
)
def test_a_base_model_is_named_where_the_weights_come_from_one(
    bare: Path, tmp_path: Path, teacher: dict[str, str], student: dict[str, str], base: bool
) -> None:
    recipe = finished_run().recipe
    recipe |= {"teacher": teacher, "student": recipe["student"] | student}
    folder, _ = complete(bare, tmp_path, finished_run(recipe=recipe))
    card = huggingface_hub.ModelCard.load(folder.bundle / "README.md")
    assert card.data.base_model == (teacher["name"] if base else None)


def test_a_bundle_without_a_run_gets_a_card_too(bare: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bare, tmp_path / "bundle")
    add_documents(folder)
    add_documents(folder)
    assert verify_bundle(folder).files == 9
    card = huggingface_hub.ModelCard.load(folder / "README.md", ignore_metadata_errors=False)
    assert (card.data.library_name, card.data.license, card.data.license_link) == (
        "onnx",
        "other",
        "LICENSE.md",
    )
    assert "| fp32 | ONNX Runtime | passed |" in card.text
    assert "- model: none needed" in (folder / "LICENSE.md").read_text()


def uploaded(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What `upload_folder` would send, caught where it would reach the network."""
    seen: list[CommitOperationAdd] = []

    def commit(self: HfApi, *, operations: list[CommitOperationAdd], **_: Any) -> Any:
        seen.extend(operations)
        raise RuntimeError("caught before the network")

    cards: list[str] = []  # the library sends the card to the hub's own check first
    monkeypatch.setattr(HfApi, "_validate_yaml", lambda self, content, **_: cards.append(content))
    monkeypatch.setattr("huggingface_hub.hf_api.is_xet_available", lambda: False, raising=False)
    monkeypatch.setattr(HfApi, "create_commit", commit)
    with pytest.raises(RuntimeError, match="caught before the network"):
        HfApi(token="none").upload_folder(repo_id="someone/student", folder_path=bundle)
    assert all(isinstance(operation, CommitOperationAdd) for operation in seen)
    assert cards == [(bundle / "README.md").read_text()]
    found = {}
    for operation in seen:
        with operation.as_file() as file:
            found[operation.path_in_repo] = file.read()
    return found


def test_a_bundle_goes_to_a_hub_unchanged_and_opens_when_it_comes_back(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `hf download --local-dir` lays it out: real files, and two things of the hub's own."""
    sent = uploaded(bundle, monkeypatch)
    assert set(sent) == {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    back = tmp_path / "downloaded"
    for name, data in {**sent, ".gitattributes": b"*.onnx filter=lfs", ".cache/huggingface/x": b""}.items():
        (back / name).parent.mkdir(parents=True, exist_ok=True)
        (back / name).write_bytes(data)
    assert verify_bundle(back).files == 9
    assert Bundle.open(back, threads=1).encode_texts(["a red star"]).shape == (1, 24)


def test_the_hubs_cache_of_links_is_refused_with_the_way_to_download(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`snapshot_download` without `local_dir`: snapshots/<revision>/x -> ../../blobs/<hash>."""
    home = tmp_path / "models--someone--student"
    snapshot = home / "snapshots" / "0123"
    (home / "blobs").mkdir(parents=True)
    for number, (name, data) in enumerate(uploaded(bundle, monkeypatch).items()):
        (home / "blobs" / str(number)).write_bytes(data)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        up = "../" * (name.count("/") + 2)
        (snapshot / name).symlink_to(f"{up}blobs/{number}")
    for open_it in (Bundle.open, verify_bundle):
        with pytest.raises(
            BundleError, match=r"'bundle\.json' is a symbolic link.*--local-dir FOLDER"
        ) as caught:
            open_it(snapshot)
        assert "\n" not in str(caught.value)
    shutil.copytree(snapshot, tmp_path / "copied")
    assert Bundle.open(tmp_path / "copied", threads=1).embed_dim == 24
