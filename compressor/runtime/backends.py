"""What can run a tower on this machine, and what each way to run it lacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from compressor.errors import BundleError, MissingDependencyError
from compressor.runtime.engine import SUFFIX
from compressor.runtime.nvidia import find_gpu, load_tensorrt, why_no_tensorrt
from compressor.runtime.openvino_tower import OpenVINOTower, load_openvino
from compressor.runtime.providers import NAMES, Provider, load_onnxruntime, why_unusable
from compressor.runtime.session import Tower, usable_cores
from compressor.runtime.tensorrt_tower import TensorRTTower
from compressor.runtime.tower import AnyTower

OPENVINO = "openvino"
_EVERYWHERE = ("cpu", "cuda", "tensorrt")
"""Providers that are always told of; the others only where this build of ONNX Runtime has them."""


@dataclass(frozen=True)
class Backend:
    """One way to run a tower; `detail` is what it would use, or exactly what is missing."""

    name: str
    usable: bool
    detail: str


def open_tower(
    path: Path,
    input_name: str,
    output_name: str,
    threads: int | None = None,
    providers: Sequence[str | Provider] | None = None,
) -> AnyTower:
    """A tower in the runtime that its file and `providers` ask for.

    An engine runs in TensorRT. An ONNX graph runs in ONNX Runtime on `providers` (None: the CPU), or, where
    the one provider is the word `openvino`, in OpenVINO's own runtime. Raises as the towers do, and
    `BundleError` for an engine together with providers.
    """
    if path.suffix == SUFFIX:
        if providers:
            raise BundleError(f"{path}: an engine runs in TensorRT; open it without providers")
        return TensorRTTower(path, input_name, output_name, usable_cores() if threads is None else threads)
    if providers and OPENVINO in providers:
        if len(providers) > 1:
            raise BundleError("openvino runs a graph by itself; ask for it without other providers")
        return OpenVINOTower(path, input_name, output_name, threads)
    return Tower(path, input_name, output_name, threads, providers)


def backends() -> list[Backend]:
    """Every backend by name, without opening a model. Imports whatever of them is installed."""
    found = []
    for name in _providers_to_tell():
        reason = why_unusable(name)
        found.append(Backend(f"onnxruntime {name}", reason is None, reason or NAMES[name]))
    reason = why_no_tensorrt()
    found.append(Backend("tensorrt engines", reason is None, reason or _tensorrt_found()))
    return [*found, _openvino()]


def _providers_to_tell() -> Iterator[str]:
    try:
        available = load_onnxruntime().get_available_providers()
    except (MissingDependencyError, AttributeError):
        available = []
    yield from (name for name, full in NAMES.items() if name in _EVERYWHERE or full in available)


def _tensorrt_found() -> str:
    gpu = find_gpu()
    return (
        f"TensorRT {load_tensorrt().__version__} on {gpu.name} (compute capability {gpu.compute_capability})"
    )


def _openvino() -> Backend:
    try:
        return Backend(OPENVINO, True, f"OpenVINO {load_openvino().__version__}")
    except MissingDependencyError as error:
        return Backend(OPENVINO, False, str(error))
