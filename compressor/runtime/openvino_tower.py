"""A tower in OpenVINO's own runtime: an ONNX graph on an x86 processor or an Intel GPU, without ONNX Runtime.

On processors with bfloat16 arithmetic (AMX, AVX512-BF16) OpenVINO computes float32 graphs in bfloat16 unless
told otherwise, which is where it is faster than ONNX Runtime; docs/tensorrt.md has the figures.
"""

from __future__ import annotations

import importlib
import threading
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compressor.errors import BundleError, MissingDependencyError, ModelError
from compressor.runtime.session import usable_cores
from compressor.runtime.tower import check_rows, check_threads, first_line

OpenVINOPrecision = Literal["f32", "bf16", "f16"]


class OpenVINOTower:
    """A graph with one input of fixed shape but for the batch, and one output (batch, width) float32.

    It has the interface of `compressor.runtime.session.Tower`. `threads` None means all cores this process
    may use. `device`: CPU, GPU or NPU. `precision`: what it computes in; None is the device's own choice.
    Safe to call from several threads; calls wait for one another.

    Raises `MissingDependencyError` without OpenVINO and `BundleError` for a graph that does not load, does
    not fit, or for a device that is not there.
    """

    providers: tuple[str, ...] = ("OpenVINO",)

    def __init__(
        self,
        path: Path,
        input_name: str,
        output_name: str,
        threads: int | None = None,
        device: str = "CPU",
        precision: OpenVINOPrecision | None = None,
    ) -> None:
        openvino = load_openvino()
        self.input_name, self.output_name = input_name, output_name
        self.threads = usable_cores() if threads is None else threads
        check_threads(self.threads)
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if device == "CPU":
            settings |= {"INFERENCE_NUM_THREADS": self.threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
        if precision is not None:
            settings["INFERENCE_PRECISION_HINT"] = precision
        try:
            compiled = openvino.Core().compile_model(str(path), device, settings)
        except Exception as error:  # OpenVINO raises RuntimeError and its subclasses for everything
            raise BundleError(f"{path}: OpenVINO cannot load this graph: {_reason(error)}") from error
        self._dtype, self.item_shape, self.width = _ends(path, compiled, input_name, output_name)
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()

    def run(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """(N, *item_shape) of the graph's own type -> (N, width) float32. N may be 0.

        Raises `ModelError` for another shape or type, or where the graph itself fails. A token id beyond the
        vocabulary is not noticed by OpenVINO.
        """
        check_rows(inputs, self.input_name, self._dtype, self.item_shape)
        if len(inputs) == 0:
            return np.zeros((0, self.width), np.float32)
        with self._lock:
            try:
                self._request.infer({self.input_name: np.ascontiguousarray(inputs)}, share_inputs=True)
                # A copy: the next call writes into the same memory.
                return np.array(self._request.get_tensor(self.output_name).data)
            except Exception as error:  # as above
                raise ModelError(
                    f"{self.input_name} {inputs.shape} cannot be run: {_reason(error)}"
                ) from error


def load_openvino() -> Any:
    """The module `openvino`. Raises `MissingDependencyError` where it cannot be had."""
    try:
        return importlib.import_module("openvino")
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "OpenVINO is not installed (pip install 'compressor[openvino]')"
        ) from error
    except Exception as error:  # a bad build fails in many ways
        raise MissingDependencyError(
            f"OpenVINO is installed but does not import: {first_line(error)}"
        ) from error


def why_no_openvino() -> str | None:
    """What is missing to run a graph in OpenVINO here; None where it can be had."""
    try:
        load_openvino()
    except MissingDependencyError as error:
        return str(error)
    return None


def arithmetic() -> str:
    """What OpenVINO computes in on this processor where it has the choice: `bf16`, `f32`; empty where it
    does not tell. Raises `MissingDependencyError` without OpenVINO."""
    openvino = load_openvino()
    try:
        return str(openvino.Core().get_property("CPU", "INFERENCE_PRECISION_HINT").get_type_name())
    except Exception:  # a remark is not worth an error
        return ""


def _reason(error: Exception) -> str:
    """OpenVINO's messages begin with places in its source; the reason is the last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (told or lines or [type(error).__name__])[-1][:300]


def _ends(
    path: Path, compiled: Any, input_name: str, output_name: str
) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Type and shape of one input item, and the output's width."""
    inputs = [end.get_any_name() for end in compiled.inputs]
    if len(inputs) == 1 and input_name in compiled.inputs[0].get_names():
        inputs = [input_name]  # an end has several names where a conversion of types beside it was folded
    outputs = {name: end for end in compiled.outputs for name in end.get_names()}
    if inputs != [input_name] or output_name not in outputs:
        raise BundleError(
            f"{path}: not a tower with input {input_name} and output {output_name}; it has inputs "
            f"{', '.join(inputs)} and outputs {', '.join(sorted(outputs))}"
        )
    given, made = compiled.inputs[0].get_partial_shape(), outputs[output_name].get_partial_shape()
    item, width = list(given)[1:], list(made)[1:]
    fixed = all(size.is_static for size in [*item, *width])
    if not fixed or len(width) != 1 or outputs[output_name].get_element_type().to_dtype() != np.float32:
        raise BundleError(
            f"{path}: {input_name} {given} -> {output_name} {made} is not the graph of a tower (only the "
            "batch may be dynamic, the output must be float32)"
        )
    dtype = np.dtype(compiled.inputs[0].get_element_type().to_dtype())
    return dtype, tuple(size.get_length() for size in item), width[0].get_length()
