"""TensorRT, CUDA and the GPU: what is missing is named; the stand-ins of the tests are like the real ones."""

from __future__ import annotations

import inspect
import re
from types import ModuleType
from typing import Any

import pytest

from compressor.errors import MissingDependencyError
from compressor.runtime import nvidia
from compressor.runtime.nvidia import (
    Gpu,
    find_gpu,
    load_cuda,
    load_tensorrt,
    message_log,
    told,
    why_no_tensorrt,
)
from tests.runtime import tensorrt_api as api
from tests.runtime.fake_cuda import CudaErrors, FakeCuda
from tests.runtime.fake_gpu import FakeTensorRT, install, without
from tests.runtime.machine import not_verified, why_missing


def test_a_gpu_is_told_with_what_an_engine_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    assert find_gpu() == Gpu("NVIDIA Test GPU", "8.7")
    assert why_no_tensorrt() is None


def test_everything_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "loadable", lambda names: None)
    with without(monkeypatch, "tensorrt", "cuda.bindings.runtime"):
        reason = why_no_tensorrt()
    assert reason == (
        "TensorRT is not installed (pip install 'compressor[gpu]'), and "
        "NVIDIA's cuda-bindings is not installed (pip install 'compressor[gpu]'), and "
        "there is no NVIDIA driver on this machine (its library libcuda.so.1 cannot be loaded)"
    )


def test_a_machine_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    monkeypatch.setattr(nvidia, "loadable", lambda names: None)
    reason = "there is no NVIDIA driver on this machine (its library libcuda.so.1 cannot be loaded)"
    with pytest.raises(MissingDependencyError) as caught:
        find_gpu()
    assert str(caught.value) == why_no_tensorrt() == reason


def test_a_machine_with_a_driver_and_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    _, cuda = install(monkeypatch)
    cuda.devices = 0
    with pytest.raises(
        MissingDependencyError,
        match=r"no GPU can be used on this machine: cudaErrorNoDevice \(words for 100\) from cudaGet",
    ):
        find_gpu()


@pytest.mark.parametrize("version", ["8.6.1", "12.0.0", "unknown"])
def test_versions_that_were_not_looked_at_are_refused(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    install(monkeypatch, version)
    with pytest.raises(MissingDependencyError, match=f"TensorRT {version} is installed, and only 10 and 11"):
        load_tensorrt()


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> ModuleType:
        raise ImportError("libnvinfer.so.10: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(nvidia.importlib, "import_module", broken)
    with pytest.raises(
        MissingDependencyError, match=r"TensorRT .* does not import: libnvinfer\.so\.10: cannot"
    ):
        load_tensorrt()


def test_errors_of_tensorrt_are_remembered_and_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    tensorrt, _ = install(monkeypatch)
    messages = message_log(tensorrt)
    severity = tensorrt.ILogger.Severity
    for level, words in ((severity.WARNING, "hm"), (severity.ERROR, "a"), (severity.INTERNAL_ERROR, "b")):
        messages.log(level, words)
    messages.log(severity.ERROR, "c")
    assert messages.errors == ["a", "b", "c"]
    assert told(messages.errors, "nothing") == "a; c"
    assert told([], "nothing") == "nothing"


@pytest.mark.parametrize("version", ["10.16.1.11", "11.4.0.106"])
def test_the_stand_in_has_the_calls_of_the_list(version: str) -> None:
    fake = FakeTensorRT(version)
    for kind, members in api.TENSORRT.items():
        for name, parameters in members.items():
            member = inspect.getattr_static(getattr(fake, kind), name)
            if parameters is None:
                assert isinstance(member, property), f"{kind}.{name}"
            else:
                assert tuple(inspect.signature(member).parameters)[1:] == parameters, f"{kind}.{name}"
    _check_values(fake)


def test_the_stand_in_of_cuda_has_the_calls_of_the_list() -> None:
    for name, parameters in api.CUDA.items():
        assert tuple(inspect.signature(getattr(FakeCuda(), name)).parameters) == parameters, name
    assert all(hasattr(FakeCuda.cudaMemcpyKind, name) for name in api.CUDA_VALUES)
    assert int(CudaErrors.cudaSuccess) == 0


def test_the_real_tensorrt_has_the_calls_of_the_list() -> None:
    """Where TensorRT is not installed, the summary says so, and the sentence about it is what is left."""
    missing = why_missing(load_tensorrt)
    if missing is not None:
        not_verified("names and parameters of TensorRT's calls", missing)
        assert re.match(r"TensorRT is (not installed \(pip|installed but does not import: .+)", missing)
        return
    tensorrt = load_tensorrt()
    for kind, members in api.TENSORRT.items():
        for name, parameters in members.items():
            member = getattr(getattr(tensorrt, kind), name)
            if parameters is not None:
                assert parameters in _declared(member.__doc__, name), f"{kind}.{name}: {member.__doc__}"
            else:
                assert isinstance(member, property), f"{kind}.{name}"
    _check_values(tensorrt)
    assert list(tensorrt.Dims((-1, 3, 224, 224))) == [-1, 3, 224, 224]
    assert message_log(tensorrt).errors == []


def test_the_real_cuda_bindings_have_the_calls_of_the_list() -> None:
    """Where they are not installed, the summary says so, and the sentence about it is what is left."""
    missing = why_missing(load_cuda)
    if missing is not None:
        not_verified("names and parameters of CUDA's calls", missing)
        assert missing.startswith("NVIDIA's cuda-bindings is ")
        return
    cuda = load_cuda()
    for name, parameters in api.CUDA.items():
        assert parameters in _declared(getattr(cuda, name).__doc__, name), name
    assert all(hasattr(cuda.cudaMemcpyKind, name) for name in api.CUDA_VALUES)
    assert hasattr(cuda.cudaDeviceProp, "name")
    missing = why_missing(find_gpu)
    if missing is not None:
        not_verified("facts about a GPU", missing)
        assert re.match(r"there is no NVIDIA driver|no GPU can be used|CUDA finds no GPU", missing)


def _check_values(tensorrt: Any) -> None:
    for kind, names in api.TENSORRT_VALUES.items():
        assert all(hasattr(getattr(tensorrt, kind), name) for name in names), kind
    flag = int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    assert flag == api.STRONGLY_TYPED[tensorrt.__version__.split(".")[0]]
    severities = tensorrt.ILogger.Severity
    assert {name: int(getattr(severities, name)) for name in api.SEVERITIES} == api.SEVERITIES


def _declared(documentation: str, name: str) -> list[tuple[str, ...]]:
    """Parameters of every overload in the documentation that a binding generates; those with a default are
    left out where the caller may leave them out."""
    found = []
    for inside in re.findall(rf"^(?:\d+\. )?{name}\((.*?)\)(?: ->|$)", documentation, re.MULTILINE):
        parts = [
            part for part in re.split(r",\s*(?![^\[]*\])", inside) if part and not part.startswith("self")
        ]
        names = [re.split(r"[:=]", part)[0].split()[-1] for part in parts]
        optional = sum("=" in part for part in parts)
        found += [tuple(names[: len(names) - left]) for left in range(optional + 1)]
    return found
