"""A tower as a TensorRT engine, with its own buffers on the GPU."""

from __future__ import annotations

import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressor.errors import BundleError, ModelError
from compressor.runtime.engine import read_engine
from compressor.runtime.nvidia import CudaError, called, find_gpu, load_cuda, load_tensorrt, message_log, told
from compressor.runtime.tower import check_rows


class TensorRTTower:
    """An engine with one input of fixed shape but for the batch, and one output (batch, width) float32.

    Built by `compressor.export.tensorrt.build_engine`, which documents the file. It has the interface of
    `compressor.runtime.session.Tower`: batches larger than the engine's profile run in pieces, smaller ones
    are filled up. Buffers for the largest batch are allocated once; host arrays are copied from where they
    lie, since pinned memory would cost one more copy on the host. Safe to call from several threads; calls
    wait for one another. `threads` is only told: the work is the GPU's. `onnx_sha256`: of the graph that it
    must have been built from, None to take any.

    Raises `MissingDependencyError` where TensorRT, CUDA or a GPU is missing, and `BundleError` for an engine
    of another GPU, version or graph, or one that does not load or does not fit;
    `ModelError` where the GPU has no room for it.
    """

    providers: tuple[str, ...] = ("TensorRT",)

    def __init__(
        self,
        path: Path,
        input_name: str,
        output_name: str,
        threads: int = 1,
        onnx_sha256: str | None = None,
    ) -> None:
        trt, self._cuda = load_tensorrt(), load_cuda()
        self.fingerprint, plan = read_engine(path)
        difference = self.fingerprint.difference(find_gpu(), trt.__version__, onnx_sha256)
        if difference:
            raise BundleError(
                f"{path}: this engine {difference}; build it on this machine, from the bundle's ONNX file"
            )
        self.input_name, self.output_name, self.threads = input_name, output_name, threads
        self._log = message_log(trt)
        self._engine, self._context = self._opened(trt, path, plan)
        self._dtype, self.item_shape, self.width = self._ends(trt, path)
        sizes = self.fingerprint.profiles.get(input_name)
        if sizes is None:
            raise BundleError(f"{path}: this engine has no profile for {input_name}; export the bundle again")
        self._sizes = sizes
        self._lock = threading.Lock()
        self._allocate()

    def run(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """(N, *item_shape) of the engine's own type -> (N, width) float32. N may be 0.

        Raises `ModelError` for another shape or type, or where TensorRT or CUDA fails.
        """
        check_rows(inputs, self.input_name, self._dtype, self.item_shape)
        outputs = np.empty((len(inputs), self.width), np.float32)
        with self._lock:
            for start in range(0, len(inputs), self._sizes.max):
                rows = inputs[start : start + self._sizes.max]
                outputs[start : start + len(rows)] = self._run_batch(rows)
        return outputs

    def _run_batch(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        count = len(rows)
        if count < self._sizes.min:
            rows = np.concatenate([rows, np.repeat(rows[-1:], self._sizes.min - count, axis=0)])
        rows = np.ascontiguousarray(rows)
        output = np.empty((len(rows), self.width), np.float32)
        self._log.errors.clear()
        try:
            self._copy(self._input, rows.ctypes.data, rows.nbytes, to_device=True)
            ready = self._context.set_input_shape(self.input_name, tuple(rows.shape))
            if not ready or not self._context.execute_async_v3(int(self._stream)):
                raise ModelError(
                    f"{self.input_name} {rows.shape} cannot be run: "
                    f"{told(self._log.errors, 'TensorRT gives no reason')}"
                )
            self._copy(output.ctypes.data, self._output, output.nbytes, to_device=False)
            called(self._cuda, self._cuda.cudaStreamSynchronize, self._stream)
        except CudaError as error:
            raise ModelError(f"{self.input_name} {rows.shape} cannot be run: {error}") from error
        return output[:count]

    def _copy(self, target: int, source: int, size: int, *, to_device: bool) -> None:
        kinds = self._cuda.cudaMemcpyKind
        kind = kinds.cudaMemcpyHostToDevice if to_device else kinds.cudaMemcpyDeviceToHost
        called(self._cuda, self._cuda.cudaMemcpyAsync, target, source, size, kind, self._stream)

    def _opened(self, trt: Any, path: Path, plan: bytes) -> tuple[Any, Any]:
        """The engine and its execution context; the runtime must live as long as they do."""
        try:
            self._runtime = trt.Runtime(self._log)
            engine = self._runtime.deserialize_cuda_engine(plan)
            context = None if engine is None else engine.create_execution_context()
        except TypeError:  # what the bindings raise where the library returns no runtime
            engine = context = None
        if context is None:
            reason = told(self._log.errors, "it gives no reason; is there enough GPU memory?")
            raise BundleError(f"{path}: TensorRT cannot load this engine: {reason}")
        return engine, context

    def _ends(self, trt: Any, path: Path) -> tuple[np.dtype[Any], tuple[int, ...], int]:
        """Type and shape of one input item, and the output's width."""
        engine = self._engine
        names = [engine.get_tensor_name(place) for place in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        if inputs != [self.input_name] or self.output_name not in names:
            raise BundleError(
                f"{path}: not a tower with input {self.input_name} and output {self.output_name}; it has "
                f"{', '.join(names)}"
            )
        types: dict[Any, np.dtype[Any]] = {
            trt.DataType.FLOAT: np.dtype("float32"),
            trt.DataType.INT64: np.dtype("int64"),
        }
        dtype = types.get(engine.get_tensor_dtype(self.input_name))
        item = tuple(engine.get_tensor_shape(self.input_name))[1:]
        shape = tuple(engine.get_tensor_shape(self.output_name))
        float_output = engine.get_tensor_dtype(self.output_name) == trt.DataType.FLOAT
        if dtype is None or -1 in item or not float_output or len(shape) != 2 or shape[1] < 1:
            raise BundleError(
                f"{path}: {self.input_name} {item} -> {self.output_name} {shape} is not the engine of a "
                "tower (only the batch may be dynamic, the output must be float32)"
            )
        return dtype, item, int(shape[1])

    def _allocate(self) -> None:
        """Buffers for the largest batch and a stream of our own; freed when the tower is forgotten."""
        items = self._sizes.max
        sizes = (items * int(np.prod(self.item_shape)) * self._dtype.itemsize, items * self.width * 4)
        held: list[tuple[Any, Any]] = []
        weakref.finalize(self, _free, held)
        try:
            (self._stream,) = called(self._cuda, self._cuda.cudaStreamCreate)
            held.append((self._cuda.cudaStreamDestroy, self._stream))
            addresses: list[Any] = []
            for size in sizes:
                addresses += called(self._cuda, self._cuda.cudaMalloc, size)
                held.append((self._cuda.cudaFree, addresses[-1]))
        except CudaError as error:
            raise ModelError(
                f"no room on the GPU for batches of {items} ({sum(sizes) / 1e6:.0f} MB): {error}"
            ) from error
        self._input, self._output = addresses
        self._context.set_tensor_address(self.input_name, int(self._input))
        self._context.set_tensor_address(self.output_name, int(self._output))


def _free(held: list[tuple[Any, Any]]) -> None:
    """Give back what `cudaMalloc` and `cudaStreamCreate` gave, the last first."""
    while held:
        release, what = held.pop()
        release(what)
