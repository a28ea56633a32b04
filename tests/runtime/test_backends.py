"""What can run a tower here, told for the doctor and chosen by file and name."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from compressor.errors import BundleError, MissingDependencyError
from compressor.runtime.backends import backends
from compressor.runtime.opening import open_tower
from compressor.runtime.session import Tower
from tests.runtime.fake_gpu import install, without

NAMES = ["onnxruntime cpu", "onnxruntime cuda", "onnxruntime tensorrt", "tensorrt engines", "openvino"]


def test_every_backend_is_told_with_what_it_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    found = {backend.name: backend for backend in backends()}
    assert set(NAMES) <= set(found)
    assert found["onnxruntime cpu"].usable
    engines = found["tensorrt engines"]
    assert engines.usable
    assert engines.detail == "TensorRT 10.16.1.11 on NVIDIA Test GPU (compute capability 8.7)"


def test_every_backend_is_told_with_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    with without(monkeypatch, "onnxruntime", "tensorrt", "cuda.bindings.runtime", "openvino"):
        found = {backend.name: backend for backend in backends()}
    assert list(found) == NAMES
    assert not any(backend.usable for backend in found.values())
    assert found["onnxruntime cuda"].detail.startswith("ONNX Runtime is not installed")
    assert found["openvino"].detail == "OpenVINO is not installed (pip install 'compressor[openvino]')"


def test_an_onnx_file_runs_in_onnx_runtime(exported: Path) -> None:
    for asked in (None, ["cpu"]):
        tower = open_tower(exported / "fp32/image.onnx", "pixel_values", "image_embeds", 1, asked)
        assert isinstance(tower, Tower)
        assert tower.providers == ("CPUExecutionProvider",)


def test_the_word_openvino_asks_for_its_own_runtime(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = exported / "fp32/image.onnx"
    with (
        without(monkeypatch, "openvino"),
        pytest.raises(MissingDependencyError, match=r"pip install 'compressor\[openvino\]'"),
    ):
        open_tower(path, "pixel_values", "image_embeds", 1, ["openvino"])
    monkeypatch.setitem(__import__("sys").modules, "openvino", ModuleType("openvino"))
    with pytest.raises(BundleError, match="openvino runs a graph by itself"):
        open_tower(path, "pixel_values", "image_embeds", 1, ["openvino", "cpu"])
