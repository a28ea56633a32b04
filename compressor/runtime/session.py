"""One ONNX graph in ONNX Runtime: explicit providers and threads, inputs checked before they are run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compressor.errors import BundleError, MissingDependencyError, ModelError

if TYPE_CHECKING:
    import onnxruntime

DEFAULT_PROVIDERS = ("CPUExecutionProvider",)


class Tower:
    """A graph with one input of fixed shape but for the batch, and one output (batch, width) float32.

    `path` is the ONNX file, `input_name` and `output_name` what the graph must call its ends. `threads`
    None means all cores this process may use. `providers` are ONNX Runtime's names, best first; each must
    be available and in use, so that a graph never runs silently on a slower device than was asked for.

    Raises `BundleError` for a graph that does not load or does not fit, or a provider that cannot be had.
    """

    def __init__(
        self,
        path: Path,
        input_name: str,
        output_name: str,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
    ) -> None:
        self.input_name = input_name
        self.output_name = output_name
        self.threads = usable_cores() if threads is None else threads
        self._session = _open_session(path, self.threads, tuple(providers or DEFAULT_PROVIDERS))
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        self._dtype, self.item_shape, self.width = _check_graph(path, self._session, input_name, output_name)

    def run(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """(N, *item_shape) of the graph's own type -> (N, width) float32. N may be 0.

        Raises `ModelError` for another shape or type, or where the graph itself fails (a token id beyond the
        vocabulary, for example).
        """
        wanted = f"{self._dtype} (N, {', '.join(str(size) for size in self.item_shape)})"
        if not isinstance(inputs, np.ndarray):
            raise ModelError(f"{self.input_name} must be a NumPy array {wanted}, not {type(inputs).__name__}")
        if inputs.dtype != self._dtype or inputs.ndim == 0 or inputs.shape[1:] != self.item_shape:
            raise ModelError(f"{self.input_name} must be {wanted}, not {inputs.dtype} {inputs.shape}")
        if len(inputs) == 0:
            return np.zeros((0, self.width), np.float32)
        try:
            (output,) = self._session.run([self.output_name], {self.input_name: np.ascontiguousarray(inputs)})
        except Exception as error:  # ONNX Runtime's own classes share no base but Exception
            raise ModelError(
                f"{self.input_name} {inputs.shape} cannot be run: {first_line(error)}"
            ) from error
        return np.asarray(output)


def usable_cores() -> int:
    """Cores this process may use: a container's or `taskset`'s limit, which ONNX Runtime's own default
    ignores."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def first_line(error: Exception) -> str:
    """The first line of an exception that is not empty, shortened: ONNX Runtime's go on for pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def _open_session(path: Path, threads: int, providers: tuple[str, ...]) -> onnxruntime.InferenceSession:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            "ONNX Runtime is not installed; `pip install 'compressor[cpu]'`, or [gpu] on a machine with CUDA"
        ) from error
    if threads < 1:
        raise BundleError(f"threads must be at least 1, not {threads}")
    available = onnxruntime.get_available_providers()
    missing = [name for name in providers if name not in available]
    if missing:
        raise BundleError(
            f"execution provider {missing[0]} is not in this ONNX Runtime (it has {', '.join(available)}); "
            "install the build that has it or ask for another"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # The graphs are chains: there is nothing to run side by side.
    options.inter_op_num_threads = 1
    # Idle threads sleep instead of spinning: the two towers (and, in a benchmark, other models) have a pool
    # each, and a spinning pool takes its cores from the one at work.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # as above: no common base class
        raise BundleError(f"{path}: ONNX Runtime cannot load this graph: {first_line(error)}") from error
    in_use = session.get_providers()
    if in_use[: len(providers)] != list(providers):
        raise BundleError(
            f"{path}: ONNX Runtime fell back to {', '.join(in_use)} although {', '.join(providers)} was "
            "asked for; check that the provider's libraries (CUDA, TensorRT) are installed and match"
        )
    return session


def _check_graph(
    path: Path, session: onnxruntime.InferenceSession, input_name: str, output_name: str
) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Type and shape of one input item, and the output's width; the graph's ends must be what a bundle
    promises."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    found = f"inputs {[end.name for end in inputs]}, outputs {[end.name for end in outputs]}"
    if [end.name for end in inputs] != [input_name] or output_name not in [end.name for end in outputs]:
        raise BundleError(
            f"{path}: not a tower with input {input_name} and output {output_name}; it has {found}"
        )
    types: dict[str, np.dtype[Any]] = {
        "tensor(float)": np.dtype("float32"),
        "tensor(int64)": np.dtype("int64"),
    }
    end = next(end for end in outputs if end.name == output_name)
    item, width = inputs[0].shape[1:], end.shape[-1] if len(end.shape) == 2 else None
    if (
        inputs[0].type not in types
        or not all(isinstance(size, int) for size in item)
        or end.type != "tensor(float)"
        or not isinstance(width, int)
    ):
        raise BundleError(
            f"{path}: {input_name} {inputs[0].type} {inputs[0].shape} -> {output_name} {end.type} "
            f"{end.shape} is not the graph of a tower (only the batch may be dynamic)"
        )
    return types[inputs[0].type], tuple(item), width
