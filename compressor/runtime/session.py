"""One ONNX graph in ONNX Runtime: explicit providers and threads, inputs checked before they are run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compressor.errors import BundleError, ModelError
from compressor.runtime.padding import Padding
from compressor.runtime.providers import DEFAULT_PROVIDERS, Provider, open_session
from compressor.runtime.tower import check_rows, first_line

if TYPE_CHECKING:
    import onnxruntime


class Tower:
    """A graph with one input of fixed shape but for the batch, and one output (batch, width) float32.

    The length of texts may be dynamic too: rows are then given at full length as to any other graph, and run
    without the padding that none of them needs.

    `path` is the ONNX file, `input_name` and `output_name` what the graph must call its ends. `threads`
    None means all cores this process may use. `providers` are names (`compressor.runtime.providers.NAMES`, or
    ONNX Runtime's own), best first; each must be available and in use, so that a graph never runs silently
    on a slower device than was asked for. `low_memory`: give the memory of a call back after it.

    Raises `BundleError` for a graph that does not load or does not fit, or a provider that cannot be had.
    """

    def __init__(
        self,
        path: Path,
        input_name: str,
        output_name: str,
        threads: int | None = None,
        providers: Sequence[str | Provider] | None = None,
        low_memory: bool = False,
    ) -> None:
        self.input_name = input_name
        self.output_name = output_name
        self.threads = usable_cores() if threads is None else threads
        self._session = open_session(path, self.threads, tuple(providers or DEFAULT_PROVIDERS), low_memory)
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        self._padding = Padding.of_notes(self._session.get_modelmeta().custom_metadata_map)
        self._dtype, self.item_shape, self.width = _check_graph(
            path, self._session, input_name, output_name, self._padding
        )

    def run(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """(N, *item_shape) of the graph's own type -> (N, width) float32. N may be 0.

        Raises `ModelError` for another shape or type, or where the graph itself fails (a token id beyond the
        vocabulary, for example).
        """
        check_rows(inputs, self.input_name, self._dtype, self.item_shape)
        if len(inputs) == 0:
            return np.zeros((0, self.width), np.float32)
        if self._padding is not None:
            inputs = self._padding.trimmed(inputs)
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


def _check_graph(
    path: Path,
    session: onnxruntime.InferenceSession,
    input_name: str,
    output_name: str,
    padding: Padding | None = None,
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
    if padding is not None:
        item = [padding.longest]
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
