"""Engines in a bundle: behind the same gate as every artifact, and said to be missing where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compressor.errors import BundleError, MissingDependencyError
from compressor.export.bundle_parts import GraphFile
from compressor.export.engines import make_engines
from compressor.recipe.outcome import TensorRTSection
from compressor.runtime.bundle import Bundle
from tests.export.toys import pictures, write_toy_bundle
from tests.runtime.fake_gpu import FakeTensorRT, install, without
from tests.runtime.toy_graph import write_graph

ENGINES = {"precisions": ["fp32"], "profiles": {"image": {"max": 16}}}


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    return install(monkeypatch)[0]


def test_engines_pass_the_gate_and_run_from_the_bundle(tmp_path: Path, tensorrt: FakeTensorRT) -> None:
    manifest = write_toy_bundle(tmp_path / "bundle", precisions=["fp32"], tensorrt=ENGINES)
    artifact = manifest.artifacts["tensorrt_fp32"]
    assert (artifact.status, manifest.default_precision) == ("passed", "fp32")
    assert artifact.image.file.path == "tensorrt_fp32/image.engine"
    assert (artifact.runtime, artifact.compute) == ("tensorrt", None)
    assert artifact.image.reason == "batches of 1 to 16, fastest at 8"
    assert artifact.recall_delta == 0
    engine = Bundle.open(tmp_path / "bundle", precision="tensorrt_fp32", threads=1)
    graph = Bundle.open(tmp_path / "bundle", threads=1)
    assert engine.providers == ("TensorRT",)
    assert np.allclose(engine.encode_images(pictures(20)), graph.encode_images(pictures(20)), atol=1e-5)
    engine.verify()


def test_an_engine_that_cannot_be_made_does_not_cost_the_rest(tmp_path: Path, tensorrt: FakeTensorRT) -> None:
    tensorrt.builds = False
    manifest = write_toy_bundle(tmp_path / "bundle", precisions=["fp32"], tensorrt=ENGINES)
    assert list(manifest.artifacts) == ["fp32"]
    assert manifest.not_made["tensorrt_fp32"] == (
        "fp32/image.onnx: TensorRT can make no engine of this graph: Could not find any implementation"
    )
    assert not (tmp_path / "bundle/tensorrt_fp32").exists()


def test_optional_engines_are_told_to_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with without(monkeypatch, "tensorrt", "cuda.bindings.runtime"):
        manifest = write_toy_bundle(
            tmp_path / "bundle", precisions=["fp32"], tensorrt={**ENGINES, "optional": True}
        )
    reason = manifest.not_made["tensorrt_fp32"]
    assert reason.startswith("not available on this machine: TensorRT is not installed (pip install 'compr")
    with pytest.raises(BundleError, match=r"\(not available on this machine"):
        Bundle.open(tmp_path / "bundle", precision="tensorrt_fp32")


@pytest.mark.parametrize("optional", [True, False])
def test_a_gpu_that_tensorrt_cannot_use_is_no_gpu(
    tmp_path: Path, tensorrt: FakeTensorRT, optional: bool
) -> None:
    tensorrt.usable = False
    section = TensorRTSection.model_validate({**ENGINES, "optional": optional})
    graph = GraphFile(write_graph(tmp_path / "image.onnx"), None)
    reason = "TensorRT cannot use the GPU of this machine: Unable to initialize CUDA"
    if optional:
        made, not_made = make_engines({"fp32": {"image": graph}}, tmp_path, section)
        assert made == {}
        assert not_made["tensorrt_fp32"].startswith(f"not available on this machine: {reason}")
    else:
        with pytest.raises(MissingDependencyError, match=f"cannot be built here: {reason}"):
            make_engines({"fp32": {"image": graph}}, tmp_path, section)


def test_engines_that_are_not_optional_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        without(monkeypatch, "tensorrt"),
        pytest.raises(
            MissingDependencyError, match="cannot be built here: TensorRT is not installed"
        ) as caught,
    ):
        write_toy_bundle(tmp_path / "bundle", precisions=["fp32"], tensorrt=ENGINES)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "bundle").exists()
