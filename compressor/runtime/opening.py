"""Open a tower in the runtime that runs it; those beside ONNX Runtime are imported when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from compressor.errors import BundleError
from compressor.runtime.providers import Provider
from compressor.runtime.schema import ENGINE_SUFFIX, Compute, Runtime
from compressor.runtime.session import Tower, usable_cores
from compressor.runtime.tower import AnyTower

OPENVINO = "openvino"


def open_tower(
    path: Path,
    input_name: str,
    output_name: str,
    threads: int | None = None,
    providers: Sequence[str | Provider] | None = None,
    low_memory: bool = False,
    runtime: Runtime = "onnxruntime",
    compute: Compute | None = None,
) -> AnyTower:
    """A tower in the runtime that its file, its artifact's `runtime` and `providers` ask for.

    An engine runs in TensorRT. An ONNX graph runs in ONNX Runtime on `providers` (None: the CPU), or in
    OpenVINO's own runtime, where `runtime` or the one provider is the word `openvino`; `compute` is what it
    computes in. `low_memory` is ONNX Runtime's alone. Raises as the towers do, and `BundleError` for an
    engine or an artifact of OpenVINO together with providers.
    """
    if path.suffix == ENGINE_SUFFIX:
        if providers:
            raise BundleError(f"{path}: an engine runs in TensorRT; open it without providers")
        from compressor.runtime.tensorrt_tower import TensorRTTower

        return TensorRTTower(path, input_name, output_name, usable_cores() if threads is None else threads)
    if runtime == OPENVINO and providers:
        raise BundleError(f"{path}: this artifact runs in OpenVINO; open it without providers")
    if runtime == OPENVINO or (providers and OPENVINO in providers):
        if providers and len(providers) > 1:
            raise BundleError("openvino runs a graph by itself; ask for it without other providers")
        from compressor.runtime.openvino_tower import OpenVINOTower

        precision: Literal["f32"] | None = "f32" if compute == "f32" else None
        return OpenVINOTower(path, input_name, output_name, threads, precision=precision)
    return Tower(path, input_name, output_name, threads, providers, low_memory)
