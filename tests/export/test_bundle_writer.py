from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressor.errors import ModelError
from compressor.export import bundle_parts, bundle_writer, gate
from compressor.export.bundle_writer import write_bundle
from compressor.export.parity import TowerParity, judge_tower
from compressor.export.retrieval_parity import RetrievalParity
from compressor.export.samples import CalibrationSamples
from compressor.recipe.outcome import PRECISIONS, ExportSection
from compressor.runtime.bundle import Bundle
from compressor.runtime.manifest import read_manifest
from compressor.runtime.schema import SCHEMA_VERSION, BundleManifest
from tests.export.toys import WIDTH, Pairs, ToyEncoder, pictures, toy_model, toy_samples, write_toy_bundle

LOOSE = {"cosine": 0.9, "worst_cosine": 0.5, "recall_delta": -50, "overlap": 0}
"""Bounds that a random toy keeps at four bits."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "bundle"
    write_toy_bundle(folder)
    return folder


@pytest.fixture
def ready_graphs(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the toy's graphs from `bundle` instead of exporting them once more: for tests of what follows."""

    def export(encoder: Any, tower: str, example: Any, path: Path, opset: int, **more: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(bundle / "fp32" / f"{tower}.onnx", path)

    def quantize(source: Path, target: Path, external: bool) -> float:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(bundle / "int8" / target.name, target)
        return 1.0

    monkeypatch.setattr(bundle_writer, "export_tower", export)
    monkeypatch.setattr(bundle_parts, "quantize_tower", quantize)


def fail(monkeypatch: pytest.MonkeyPatch, *precisions: str) -> None:
    """Let the gate find fault with the image tower at these precisions."""
    real = gate.judge_tower

    def judge(tower: Any, inputs: Any, reference: Any, bounds: Any, precision: str) -> TowerParity:
        if precision in precisions and tower.input_name == "pixel_values":
            return TowerParity(False, "it looks wrong", 0.1, -0.2)
        return real(tower, inputs, reference, bounds, precision)

    monkeypatch.setattr(gate, "judge_tower", judge)


def test_bundle_holds_the_towers_the_preprocessing_and_nothing_else(bundle: Path) -> None:
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    towers = {f"{precision}/{tower}.onnx" for precision in ("fp32", "int8") for tower in ("image", "text")}
    assert files == towers | {"bundle.json", "preprocess.json", "tokenizer.json"}
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


def test_manifest_says_what_was_exported(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    encoder = ToyEncoder(300)
    assert (manifest.name, manifest.role, manifest.embed_dim) == ("toy", "student", WIDTH)
    assert manifest.logit_scale == pytest.approx(encoder.logit_scale.item())
    assert manifest.parameters["total"] == sum(parameter.numel() for parameter in encoder.parameters())
    assert manifest.parameters["image"] + manifest.parameters["text"] == manifest.parameters["total"] - 1
    assert (manifest.origin, manifest.licence) == ("made for a test", "none needed")
    assert manifest.lineage["recipe"] == "a test"
    assert manifest.lineage["model"] == "0" * 32
    assert manifest.lineage["export"]["opset"] == 18
    assert manifest.default_precision == "fp32"


def test_hashes_and_sizes_are_those_of_the_files(bundle: Path) -> None:
    entries = read_manifest(bundle).files()
    assert len(entries) == 6
    for entry in entries:
        content = (bundle / entry.path).read_bytes()
        assert entry.sha256 == hashlib.sha256(content).hexdigest()
        assert entry.bytes == len(content)


def test_every_artifact_passed_with_its_figures(bundle: Path) -> None:
    artifacts = read_manifest(bundle).artifacts
    assert list(artifacts) == ["fp32", "int8"]
    for artifact in artifacts.values():
        assert (artifact.status, artifact.reason) == ("passed", "")
        assert artifact.recall_delta is not None
        for tower in (artifact.image, artifact.text):
            assert tower.cosine is not None
            assert tower.worst_cosine is not None
            assert 0.9 < tower.worst_cosine <= tower.cosine <= 1
    assert artifacts["fp32"].recall_delta == 0
    assert artifacts["fp32"].recall_delta_interval == (0, 0)
    assert artifacts["fp32"].overlap == 1
    assert artifacts["int8"].image.file.bytes < artifacts["fp32"].image.file.bytes


def test_int8_says_how_little_of_an_embedding_table_it_covers(bundle: Path) -> None:
    """Most of the toy's text weights are its embedding table, which stays float32."""
    towers = read_manifest(bundle).artifacts["int8"]
    assert "% of the weights are int8" in towers.text.reason
    assert towers.image.reason == ""


def test_writing_again_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    write_toy_bundle(tmp_path / "again")
    for path in bundle.rglob("*"):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(bundle)).read_bytes() == path.read_bytes()


def test_manifest_holds_no_path_of_this_machine(bundle: Path) -> None:
    text = (bundle / "bundle.json").read_text()
    assert str(bundle.parent) not in text
    assert json.loads(text)["schema_version"] == SCHEMA_VERSION


@pytest.mark.usefixtures("ready_graphs")
def test_failed_precision_is_marked_and_not_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(monkeypatch, "int8")
    manifest = write_toy_bundle(tmp_path / "bundle", default="int8")
    int8 = manifest.artifacts["int8"]
    assert (int8.status, int8.reason) == ("failed", "image tower: it looks wrong")
    assert (int8.image.status, int8.image.cosine, int8.text.status) == ("failed", 0.1, "passed")
    assert int8.recall_delta is None
    assert manifest.default_precision == "fp32"
    assert Bundle.open(tmp_path / "bundle").precision == "fp32"


@pytest.mark.usefixtures("ready_graphs")
def test_recall_below_the_bound_fails_the_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        "fp32": RetrievalParity(-0.2, (-0.4, 0.1), 0.99),
        "int8": RetrievalParity(-1.5, (-2.5, -0.5), 0.9),
    }
    monkeypatch.setattr(gate, "compare_retrieval", lambda encoder, towers, recall: found)
    manifest = write_toy_bundle(tmp_path / "bundle")
    assert manifest.artifacts["fp32"].status == "passed"
    int8 = manifest.artifacts["int8"]
    assert (int8.status, int8.recall_delta) == ("failed", -1.5)
    assert (int8.recall_delta_interval, int8.overlap) == ((-2.5, -0.5), 0.9)
    assert int8.reason == "Recall@K is 1.50 points below PyTorch's, more than 1"
    assert int8.image.status == int8.text.status == "passed"


@pytest.mark.usefixtures("ready_graphs")
def test_without_a_passed_precision_there_is_no_bundle_but_files_to_inspect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "before").write_text("kept")
    fail(monkeypatch, "fp32", "int8")
    with pytest.raises(
        ModelError, match=r"no exported artifact of the student passed.*it looks wrong.*bundle-failed"
    ):
        write_toy_bundle(tmp_path / "bundle")
    assert (tmp_path / "bundle" / "before").read_text() == "kept"
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", "bundle-failed"}
    assert Bundle.open(tmp_path / "bundle-failed", allow_failed=True).embed_dim == WIDTH
    monkeypatch.setattr(gate, "judge_tower", judge_tower)
    write_toy_bundle(tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.usefixtures("ready_graphs")
def test_precision_that_cannot_be_made_is_named_and_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> float:
        raise ValueError("no such operator")

    monkeypatch.setattr(bundle_parts, "quantize_tower", refuse)
    manifest = write_toy_bundle(tmp_path / "bundle")
    assert manifest.not_made == {"int8": "ValueError: no such operator"}
    assert list(manifest.artifacts) == ["fp32"]
    assert not (tmp_path / "bundle" / "int8").exists()


@pytest.mark.usefixtures("ready_graphs")
def test_broken_file_fails_on_its_structure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        gate, "structural_fault", lambda path, external: "has two heads" if path.parent.name == "int8" else ""
    )
    manifest = write_toy_bundle(tmp_path / "bundle", default="int8")
    assert manifest.artifacts["int8"].reason == "image tower: has two heads; text tower: has two heads"
    assert (manifest.artifacts["fp32"].status, manifest.default_precision) == ("passed", "fp32")


@pytest.mark.usefixtures("ready_graphs")
def test_static_int8_needs_pairs_to_calibrate_on(tmp_path: Path) -> None:
    manifest = write_toy_bundle(tmp_path / "bundle", precisions=("fp32", "int8_static"))
    assert manifest.not_made == {"int8_static": "there are no training pairs to calibrate it on"}


@pytest.mark.usefixtures("ready_graphs")
def test_every_precision_is_made_and_judged(tmp_path: Path) -> None:
    model = toy_model()
    manifest = write_bundle(
        model,
        tmp_path / "bundle",
        ExportSection.model_validate({"search": True, "parity": LOOSE}),
        role="student",
        samples=toy_samples(model),
        calibration=CalibrationSamples.of_pairs(
            Pairs(pictures(30, seed=5), split="train"), model.preprocessor, 16
        ),
        lineage={},
    )
    assert list(manifest.artifacts) == list(PRECISIONS)
    assert manifest.not_made == {}
    assert {name: found.status for name, found in manifest.artifacts.items()} == dict.fromkeys(
        PRECISIONS, "passed"
    )
    assert "calibrated by" in manifest.artifacts["int8_static"].image.reason
    for precision in PRECISIONS:
        assert Bundle.open(tmp_path / "bundle", precision).embed_dim == WIDTH


@pytest.mark.usefixtures("ready_graphs")
def test_fp16_keeps_normalisations_in_float32_where_parity_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate.Gate, "accepts", lambda self, path, tower, precision: tower == "image")
    manifest = write_toy_bundle(tmp_path / "bundle", precisions=("fp32", "fp16"))
    towers = manifest.artifacts["fp16"]
    assert (towers.image.reason, towers.text.reason) == ("", "normalisations in float32")
    assert towers.status == "passed"


@pytest.mark.usefixtures("ready_graphs")
def test_int8_alone_leaves_no_fp32_graph(tmp_path: Path) -> None:
    manifest = write_toy_bundle(tmp_path / "bundle", precisions=("int8",))
    assert manifest.default_precision == "int8"
    assert not (tmp_path / "bundle" / "fp32").exists()


@pytest.mark.usefixtures("ready_graphs")
def test_rehearsal_leaves_recall_out_and_judges_the_cosines(tmp_path: Path) -> None:
    model = toy_model()
    manifest = write_bundle(
        model,
        tmp_path / "bundle",
        ExportSection(precisions=("fp32",)),
        role="teacher",
        samples=toy_samples(model),
        lineage={},
        licence="another",
        judge_quality=False,
    )
    artifact = manifest.artifacts["fp32"]
    assert (artifact.status, artifact.recall_delta) == ("passed", None)
    assert artifact.image.cosine == pytest.approx(1, abs=1e-4)
    assert manifest.licence == "another"


class Collapsed(ToyEncoder):
    """Maps every image to one vector, whatever it shows."""

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        return nn.functional.normalize(super().encode_image(pixel_values) * 0 + 1, dim=-1)


def test_collapsed_model_cannot_be_judged(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="image tower: cannot be judged: the outputs hardly vary"):
        write_toy_bundle(tmp_path / "bundle", toy_model(Collapsed(300)), precisions=("fp32",))


class Divergent(ToyEncoder):
    """A model whose graph is not its PyTorch code: the exporter sees another function."""

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        if torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export():
            pixel_values = pixel_values.flip(-1)
        return super().encode_image(pixel_values)


def test_a_logit_scale_that_is_no_number_is_refused_before_the_export(tmp_path: Path) -> None:
    model = toy_model()
    assert isinstance(model.encoder, ToyEncoder)
    model.encoder.log_logit_scale.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="toy: logit scale nan and bias None are no numbers"):
        write_toy_bundle(tmp_path / "bundle", model)
    assert list(tmp_path.iterdir()) == []


def test_graph_that_computes_something_else_does_not_pass(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="image tower: mean cosine"):
        write_toy_bundle(tmp_path / "bundle", toy_model(Divergent(300)), precisions=("fp32",))


def test_quality_is_not_judged_without_pairs(tmp_path: Path) -> None:
    model = toy_model()
    with pytest.raises(ValueError, match=r"samples\.recall"):
        write_bundle(
            model,
            tmp_path / "bundle",
            ExportSection(),
            role="student",
            samples=replace(toy_samples(model), recall=None),
            lineage={},
        )
    assert not list(tmp_path.iterdir())


def test_manifest_survives_its_own_json(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    assert BundleManifest.model_validate_json(manifest.model_dump_json()) == manifest
