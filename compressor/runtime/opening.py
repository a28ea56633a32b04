"""Open a tower in the runtime that runs it; those beside ONNX Runtime are imported when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compressor.errors import BundleError
from compressor.runtime.providers import Provider
from compressor.runtime.session import Tower, usable_cores
from compressor.runtime.tower import AnyTower

ENGINE_SUFFIX = ".engine"
OPENVINO = "openvino"


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
    if path.suffix == ENGINE_SUFFIX:
        if providers:
            raise BundleError(f"{path}: an engine runs in TensorRT; open it without providers")
        from compressor.runtime.tensorrt_tower import TensorRTTower

        return TensorRTTower(path, input_name, output_name, usable_cores() if threads is None else threads)
    if providers and OPENVINO in providers:
        if len(providers) > 1:
            raise BundleError("openvino runs a graph by itself; ask for it without other providers")
        from compressor.runtime.openvino_tower import OpenVINOTower

        return OpenVINOTower(path, input_name, output_name, threads)
    return Tower(path, input_name, output_name, threads, providers)
