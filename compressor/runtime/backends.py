"""What can run a tower on this machine, and what each way to run it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compressor.errors import MissingDependencyError
from compressor.runtime.nvidia import find_gpu, load_tensorrt, why_no_tensorrt
from compressor.runtime.opening import OPENVINO
from compressor.runtime.openvino_tower import load_openvino
from compressor.runtime.providers import NAMES, load_onnxruntime, why_unusable

_EVERYWHERE = ("cpu", "cuda", "tensorrt")
"""Providers that are always told of; the others only where this build of ONNX Runtime has them."""


@dataclass(frozen=True)
class Backend:
    """One way to run a tower; `detail` is what it would use, or exactly what is missing."""

    name: str
    usable: bool
    detail: str


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
