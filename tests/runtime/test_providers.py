"""Execution providers by friendly names, and what is said where one does not really run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from compressor.errors import BundleError, MissingDependencyError
from compressor.runtime import providers
from compressor.runtime.providers import NAMES, Provider, open_session, provider, why_unusable
from tests.runtime.fake_gpu import without


def test_a_provider_has_a_friendly_name_and_its_options(tmp_path: Path) -> None:
    assert provider("cuda") == Provider("CUDAExecutionProvider")
    assert provider("CUDAExecutionProvider", device_id=1).options == {"device_id": "1"}
    assert provider("tensorrt", fp16=True, engine_cache=tmp_path).options == {
        "trt_fp16_enable": "1",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(tmp_path),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(tmp_path),
    }


@pytest.mark.parametrize(
    ("name", "options"),
    [("cpu", {"device_id": 0}), ("cuda", {"fp16": True}), ("cuda", {"engine_cache": Path("x")})],
)
def test_options_that_a_provider_does_not_have_are_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{name}"):
        provider(name, **options)


def test_the_cpu_by_either_name(exported: Path) -> None:
    for name in ("cpu", "CPUExecutionProvider", Provider("CPUExecutionProvider")):
        session = open_session(exported / "fp32/image.onnx", 1, [name])
        assert session.get_providers() == ["CPUExecutionProvider"]
    assert why_unusable("cpu") is None


def test_a_provider_that_the_build_lacks_says_how_to_get_it(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    reason = (
        "execution provider CUDAExecutionProvider is not in this ONNX Runtime (it has CPUExecutionProvider); "
        "`pip install 'compressor[gpu]'` in place of it, or ask for another"
    )
    assert why_unusable("cuda") == reason
    with pytest.raises(BundleError) as caught:
        open_session(exported / "fp32/image.onnx", 1, ["cuda"])
    assert str(caught.value) == reason


@pytest.fixture
def gpu_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime as its GPU build behaves where libraries are missing: it drops the provider, or, of
    TensorRT, raises; both were seen with onnxruntime-gpu 1.31."""
    real = onnxruntime.InferenceSession

    def session(path: str, options: Any, providers: list[Any], enable_fallback: int) -> Any:
        assert enable_fallback == 0
        if any("Tensorrt" in str(each) for each in providers):
            raise RuntimeError("RegisterTensorRTPluginsAsCustomOps Please install TensorRT libraries")
        return real(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(NAMES.values()))
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)


def test_a_fallback_names_the_libraries_that_are_missing(
    exported: Path, monkeypatch: pytest.MonkeyPatch, gpu_build: None
) -> None:
    def missing(library: Path) -> list[str]:
        return (
            ["libcublas.so.13"]
            if library.name == "libonnxruntime_providers_cuda.so"
            else ["libnvinfer.so.10"]
        )

    monkeypatch.setattr(providers, "missing_for", missing)
    assert why_unusable("cuda") == "CUDAExecutionProvider needs libcublas.so.13, which cannot be loaded"
    with pytest.raises(
        BundleError,
        match=r"fell back to CPUExecutionProvider although CUDAExecutionProvider was asked for: "
        r"CUDAExecutionProvider needs libcublas\.so\.13, which cannot be loaded$",
    ):
        open_session(exported / "fp32/image.onnx", 1, ["cuda"])
    with pytest.raises(
        BundleError, match=r"TensorrtExecutionProvider needs libnvinfer\.so\.10, which cannot"
    ):
        open_session(exported / "fp32/image.onnx", 1, ["tensorrt", "cuda"])


def test_a_fallback_with_all_libraries_points_at_the_gpu(
    exported: Path, monkeypatch: pytest.MonkeyPatch, gpu_build: None
) -> None:
    monkeypatch.setattr(providers, "missing_for", lambda library: [])
    with pytest.raises(BundleError, match="their libraries load, so look at the GPU and its driver"):
        open_session(exported / "fp32/image.onnx", 1, ["cuda"])
    with pytest.raises(BundleError, match="cannot load this graph: RegisterTensorRTPlugins"):
        open_session(exported / "fp32/image.onnx", 1, ["tensorrt"])


def test_without_onnx_runtime(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with without(monkeypatch, "onnxruntime"):
        assert why_unusable("cpu") is not None
        with pytest.raises(MissingDependencyError, match="ONNX Runtime is not installed"):
            open_session(exported / "fp32/image.onnx", 1)
