"""OpenVINO in a bundle: the files of the ONNX artifacts, judged, chosen and kept as every artifact is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from compressor.errors import BundleError, MissingDependencyError
from compressor.export.bundle_parts import GraphFile
from compressor.export.gate import agrees_like
from compressor.export.search import settle
from compressor.recipe.outcome import ExportSection
from compressor.report.bundle_console import print_bundle
from compressor.report.plain_card import plain_card
from compressor.runtime.archive import pack, unpack
from compressor.runtime.bundle import Bundle
from compressor.runtime.manifest import read_manifest
from compressor.runtime.openvino_tower import load_openvino
from compressor.runtime.schema import BundleManifest, Candidate, Compute, Runtime
from compressor.runtime.verify import verify_bundle
from tests.export.toys import pictures, write_toy_bundle
from tests.runtime import fake_openvino
from tests.runtime.fake_gpu import without
from tests.runtime.fake_openvino import FakeOpenVINO
from tests.runtime.machine import not_verified, why_missing

BOTH = {"precisions": ["fp32", "int8"]}
FORGIVING = {"recall_delta": -50, "overlap": 0}


@pytest.fixture
def openvino(monkeypatch: pytest.MonkeyPatch) -> FakeOpenVINO:
    return fake_openvino.install(monkeypatch)


def test_it_reads_the_files_of_onnx_and_opens_by_itself(tmp_path: Path, openvino: FakeOpenVINO) -> None:
    folder = tmp_path / "bundle"
    manifest = write_toy_bundle(folder, precisions=["fp32"], openvino={"compute": "f32"})
    artifact = manifest.artifacts["openvino_fp32"]
    assert (artifact.status, artifact.runtime, artifact.compute) == ("passed", "openvino", "f32")
    assert artifact.files() == manifest.artifacts["fp32"].files()
    assert artifact.image.reason == "computed in f32"
    assert artifact.recall_delta == 0
    assert manifest.default_precision == "fp32"
    assert manifest.lineage["export"]["openvino"] == "2026.4.1-fake"
    opened = Bundle.open(folder, precision="openvino_fp32", threads=1)
    assert opened.providers == ("OpenVINO",)
    assert openvino.settings["INFERENCE_PRECISION_HINT"] == "f32"
    graph = Bundle.open(folder, threads=1)
    assert graph.providers == ("CPUExecutionProvider",)
    assert np.allclose(opened.encode_images(pictures(4)), graph.encode_images(pictures(4)), atol=1e-5)
    with pytest.raises(BundleError, match=r"this artifact runs in OpenVINO; open it without providers$"):
        Bundle.open(folder, precision="openvino_fp32", providers=["cpu"])


def test_its_choice_of_arithmetic_is_left_to_it_and_noted(tmp_path: Path, openvino: FakeOpenVINO) -> None:
    manifest = write_toy_bundle(tmp_path / "bundle", precisions=["fp32"], openvino={})
    assert manifest.artifacts["openvino_fp32"].compute == "auto"
    assert manifest.artifacts["openvino_fp32"].image.reason == "computed in bf16"
    Bundle.open(tmp_path / "bundle", precision="openvino_fp32", threads=1)
    assert "INFERENCE_PRECISION_HINT" not in openvino.settings


def test_files_that_two_artifacts_name_are_there_once(tmp_path: Path, openvino: FakeOpenVINO) -> None:
    folder = tmp_path / "bundle"
    plain = write_toy_bundle(tmp_path / "plain", parity=FORGIVING)
    manifest = write_toy_bundle(folder, parity=FORGIVING, openvino=BOTH)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        path.name for path in (tmp_path / "plain").iterdir()
    )
    assert verify_bundle(folder).files == 1 + len({entry.path for entry in plain.files()})
    archive = tmp_path / "bundle.tar.gz"
    pack(folder, archive)
    assert unpack(archive, tmp_path / "again").manifest == manifest
    console = Console(width=200, record=True, file=(tmp_path / "out").open("w"))
    print_bundle(read_manifest(folder), console)
    (shown,) = [line for line in console.export_text().splitlines() if "openvino_int8" in line]
    assert "OpenVINO" in shown
    assert "| openvino_fp32 | OpenVINO | passed |" in plain_card(manifest)


def test_what_openvino_gets_wrong_fails_there_alone(tmp_path: Path, openvino: FakeOpenVINO) -> None:
    openvino.wrong = True
    manifest = write_toy_bundle(
        tmp_path / "bundle", precisions=["fp32"], default="openvino_fp32", openvino={}
    )
    artifact = manifest.artifacts["openvino_fp32"]
    assert artifact.status == "failed"
    assert artifact.reason.startswith("image tower: ")
    assert (manifest.artifacts["fp32"].status, manifest.default_precision) == ("passed", "fp32")
    with pytest.raises(BundleError, match="'openvino_fp32' failed its parity gate"):
        Bundle.open(tmp_path / "bundle", precision="openvino_fp32")


def test_it_is_the_default_where_the_recipe_says_so(tmp_path: Path, openvino: FakeOpenVINO) -> None:
    manifest = write_toy_bundle(
        tmp_path / "bundle", precisions=["fp32"], default="openvino_fp32", openvino={}
    )
    assert manifest.default_precision == "openvino_fp32"
    assert Bundle.open(tmp_path / "bundle").providers == ("OpenVINO",)
    assert "`pip install 'compressor[openvino]'` is all it needs" in plain_card(manifest)


def test_an_optional_one_is_told_to_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = {"precisions": ["fp32"], "default": "openvino_fp32", "openvino": {"optional": True}}
    with without(monkeypatch, "openvino"):
        manifest = write_toy_bundle(tmp_path / "bundle", **section)
    assert manifest.not_made == {
        "openvino_fp32": "not available on this machine: OpenVINO is not installed (pip install "
        "'compressor[openvino]')"
    }
    assert (list(manifest.artifacts), manifest.default_precision) == (["fp32"], "fp32")
    assert "openvino" not in manifest.lineage["export"]


def test_one_that_is_not_optional_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        without(monkeypatch, "openvino"),
        pytest.raises(
            MissingDependencyError, match=r"cannot be judged here: OpenVINO is not installed \(pip"
        ),
    ):
        write_toy_bundle(tmp_path / "bundle", precisions=["fp32"], openvino={})
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_travels_to_a_machine_without_openvino(
    tmp_path: Path, openvino: FakeOpenVINO, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_toy_bundle(tmp_path / "bundle", precisions=["fp32"], openvino={})
    with without(monkeypatch, "openvino"):
        Bundle.open(tmp_path / "bundle").verify()
        with pytest.raises(MissingDependencyError, match=r"not installed \(pip install 'compressor\[openvi"):
            Bundle.open(tmp_path / "bundle", precision="openvino_fp32")


@pytest.mark.parametrize(
    ("name", "runtime", "compute", "kind"),
    [
        ("int8_static", "onnxruntime", None, "int8_static"),
        ("tensorrt_fp32", "tensorrt", None, "tensorrt_fp32"),
        ("openvino_fp32", "openvino", "f32", "fp32"),
        ("openvino_fp32", "openvino", "auto", "bf16"),
        ("openvino_int8", "openvino", "auto", "int8"),
    ],
)
def test_batches_must_agree_as_far_as_the_arithmetic_lets_them(
    name: str, runtime: Runtime, compute: Compute | None, kind: str
) -> None:
    assert agrees_like(name, GraphFile(Path("x.onnx"), runtime=runtime, compute=compute)) == kind


def candidate(delta: float, ratio: float, size: int) -> Candidate:
    figures = {"image_ms": ratio, "text_ms": ratio, "ratio": ratio, "ratio_interval": (ratio, ratio)}
    return Candidate.model_validate({**figures, "bytes": size, "recall_delta": delta})


SLOW, FAST = candidate(-0.5, 0.9, 300), candidate(-0.5, 0.5, 300)
WORST, FP32 = candidate(-0.9, 1.5, 1200), candidate(0.0, 1.0, 1000)


@pytest.mark.parametrize(
    ("int8", "openvino_int8", "kept", "folders"),
    [
        (SLOW, FAST, ["fp32", "openvino_int8", "openvino_fp32"], {"fp32", "int8"}),
        (FAST, SLOW, ["fp32", "int8", "openvino_fp32"], {"fp32", "int8"}),
        (WORST, WORST, ["fp32", "openvino_fp32"], {"fp32"}),
    ],
)
def test_a_search_keeps_files_as_long_as_something_reads_them(
    tmp_path: Path,
    openvino: FakeOpenVINO,
    int8: Candidate,
    openvino_int8: Candidate,
    kept: list[str],
    folders: set[str],
) -> None:
    folder = tmp_path / "bundle"
    settled, before = _settled(
        folder,
        {
            "fp32": FP32,
            "int8": int8,
            "openvino_int8": openvino_int8,
            "openvino_fp32": candidate(0, 0.7, 1000),
        },
        default="fastest",
    )
    assert set(settled.artifacts) == set(kept)
    assert {path.name for path in folder.iterdir() if path.is_dir()} == folders
    verify_bundle(folder)
    assert settled.search is not None
    left_out = set(before.artifacts) - set(kept)
    assert settled.search.left_out == {name: before.artifacts[name] for name in left_out}
    opened = Bundle.open(folder, threads=1)
    assert opened.precision == settled.search.winners["fastest"]
    opened.verify()


def test_what_openvino_makes_slower_is_beaten_by_the_same_files(
    tmp_path: Path, openvino: FakeOpenVINO
) -> None:
    figures = {"fp32": FP32, "int8": FAST, "openvino_fp32": candidate(0, 1.2, 1000)}
    settled, _ = _settled(tmp_path / "bundle", figures)
    assert settled.not_made["openvino_fp32"] == "the search left it out: slower than fp32"
    assert (tmp_path / "bundle/fp32/image.onnx").exists()
    verify_bundle(tmp_path / "bundle")


def test_the_real_openvino_passes_the_gate(tmp_path: Path) -> None:
    """Where it is not installed, the summary says so, and the sentence about it is what is left."""
    missing = why_missing(load_openvino)
    section = {"precisions": ["fp32", "fp16", "int8"], "compute": "f32", "optional": True}
    manifest = write_toy_bundle(
        tmp_path / "bundle", precisions=["fp32", "fp16", "int8"], parity=FORGIVING, openvino=section
    )
    names = [f"openvino_{precision}" for precision in section["precisions"]]
    if missing is not None:
        not_verified("that what OpenVINO computes passes the gate", missing)
        assert {manifest.not_made[name] for name in names} == {f"not available on this machine: {missing}"}
        return
    for name in names:
        artifact = manifest.artifacts[name]
        assert (artifact.status, artifact.reason) == ("passed", "")
        floor = 0.99 if name.endswith("int8") else 0.999
        assert (artifact.image.worst_cosine or 0) > floor
        assert Bundle.open(tmp_path / "bundle", precision=name, threads=1).providers == ("OpenVINO",)


def _settled(
    folder: Path, figures: dict[str, Candidate], **section: Any
) -> tuple[BundleManifest, BundleManifest]:
    """A bundle of both precisions in both runtimes, settled on given figures; and what it was before."""
    before = write_toy_bundle(folder, parity=FORGIVING, openvino=BOTH)
    settings = ExportSection.model_validate({"search": True, "openvino": BOTH, **section})
    return settle(folder, before, figures, settings, threads=1, provider="CPU"), before
