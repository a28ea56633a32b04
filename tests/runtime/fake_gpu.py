"""A stand-in for `tensorrt` on a machine without it, to be installed with that for CUDA.

Both have the names, parameters and failures of the real modules that this package relies on
(`tests/runtime/tensorrt_api.py` holds both against one list), and nothing else: a call of anything more
fails. An "engine" is the ONNX graph with its profile, and runs in ONNX Runtime out of "GPU memory" that is
ordinary memory, addressed by numbers as on a GPU.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from compressor.runtime import nvidia
from tests.runtime.fake_cuda import FakeCuda

UNREADABLE = ("DynamicQuantizeLinear", "MatMulInteger")
_INT64 = onnx.TensorProto.INT64


class Log:
    Severity = IntEnum("Severity", {"INTERNAL_ERROR": 0, "ERROR": 1, "WARNING": 2, "INFO": 3, "VERBOSE": 4})

    def __init__(self) -> None: ...


@dataclass
class ParserError:
    operator: str
    place: int

    def node(self) -> int:
        return self.place

    def desc(self) -> str:
        return "No importer registered for op"

    def node_name(self) -> str:
        return "somewhere"

    def node_operator(self) -> str:
        return self.operator


class Network:
    def __init__(self) -> None:
        self.model: onnx.ModelProto | None = None

    @property
    def num_inputs(self) -> int:
        assert self.model is not None
        return len(self.model.graph.input)

    def get_input(self, index: int) -> Any:
        assert self.model is not None
        end = self.model.graph.input[index]
        return SimpleNamespace(name=end.name, shape=_shape(end))


class Parser:
    def __init__(self, network: Network, logger: Any) -> None:
        self._network, self._errors = network, list[ParserError]()

    def parse_from_file(self, model: str) -> bool:
        graph = onnx.load(model)
        nodes = enumerate(graph.graph.node)
        self._errors = [ParserError(n.op_type, k) for k, n in nodes if n.op_type in UNREADABLE]
        self._network.model = graph
        return not self._errors

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        if not min <= opt <= max:
            raise RuntimeError("Shape provided for opt is inconsistent with other shapes.")
        self.shapes[input] = [tuple(min), tuple(opt), tuple(max)]


class Config:
    def __init__(self, machine: FakeTensorRT) -> None:
        self._machine = machine
        self.flags = {"TF32"}
        self.limits: dict[Any, int] = {}
        self.profile: Profile | None = None
        self.timings: Any = None

    def clear_flag(self, flag: Any) -> None:
        self.flags.discard(flag.name)

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self.limits[pool.name] = pool_size

    def add_optimization_profile(self, profile: Profile) -> int:
        if 0 in (least[0] for least, _, _ in profile.shapes.values()):
            return -1
        self.profile = profile
        return 0

    def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
        return SimpleNamespace(known=bytes(serialized_timing_cache), serialize=lambda: b"timings")

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        self.timings = cache
        self._machine.timings_used.append(cache.known)
        return cache.known in (b"", b"timings")

    def get_timing_cache(self) -> Any:
        return self.timings


class Builder:
    def __init__(self, logger: Any) -> None: ...

    def create_network(self, flags: int = 0) -> Network:
        raise NotImplementedError

    def create_builder_config(self) -> Config:
        raise NotImplementedError

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        raise NotImplementedError


class Engine:
    def __init__(self, plan: bytes, logger: Any) -> None:
        header, _, model = plan.partition(b"\0")
        self._profiles, self._logger = json.loads(header), logger
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        graph = onnx.load_from_string(model).graph
        self._ends = {end.name: end for end in (*graph.input, *graph.output)}
        self._inputs = [end.name for end in graph.input]

    @property
    def num_io_tensors(self) -> int:
        return len(self._ends)

    def get_tensor_name(self, index: int) -> str:
        return list(self._ends)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        kind = self._ends[name].type.tensor_type.elem_type
        return DataType.INT64 if kind == _INT64 else DataType.FLOAT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return _shape(self._ends[name])

    def create_execution_context(self) -> Context:
        return Context(self)


class Context:
    def __init__(self, engine: Engine) -> None:
        self._engine, self._shape, self._addresses = engine, dict[str, tuple[int, ...]](), dict[str, int]()

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self._engine._profiles[name]
        inside = all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True))
        if not inside:
            self._engine._logger.log(Log.Severity.ERROR, f"shape {shape} outside of the profile")
        self._shape[name] = tuple(shape)
        return inside

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        (name, shape), *_ = self._shape.items()
        dtype = np.int64 if self._engine.get_tensor_dtype(name) == DataType.INT64 else np.float32
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = (ctypes.c_char * size).from_address(self._addresses[name])
        rows = np.frombuffer(memory, dtype).reshape(shape)
        try:
            outputs = self._engine._session.run(None, {name: rows})
        except Exception as error:
            self._engine._logger.log(Log.Severity.ERROR, str(error).splitlines()[0])
            return False
        names = [end.name for end in self._engine._session.get_outputs()]
        for end, values in zip(names, outputs, strict=True):
            ctypes.memmove(self._addresses[end], values.ctypes.data, values.nbytes)
        return True


class Runtime:
    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
        if b"\0" not in serialized_engine:
            self._logger.log(Log.Severity.ERROR, "the plan has no magic tag")
            return None
        return Engine(bytes(serialized_engine), self._logger)


TensorIOMode = IntEnum("TensorIOMode", {"NONE": 0, "INPUT": 1, "OUTPUT": 2})
DataType = IntEnum("DataType", {"FLOAT": 0, "HALF": 1, "INT32": 3, "INT64": 8})


class FakeTensorRT(ModuleType):
    """The module. `version` 10 or 11 something: the two differ in the value of STRONGLY_TYPED."""

    def __init__(self, version: str = "10.16.1.11") -> None:
        super().__init__("tensorrt")
        self.__version__ = version
        self.usable, self.builds = True, True
        self.networks: list[int] = []
        self.configs: list[Config] = []
        self.timings_used: list[bytes] = []
        self.ILogger, self.OnnxParser, self.Runtime = Log, Parser, Runtime
        self.INetworkDefinition, self.IBuilderConfig, self.IOptimizationProfile = Network, Config, Profile
        self.ICudaEngine, self.IExecutionContext, self.ParserError = Engine, Context, ParserError
        self.TensorIOMode, self.DataType = TensorIOMode, DataType
        typed = 1 if version.startswith("10") else 0
        self.NetworkDefinitionCreationFlag = IntEnum("Flag", {"STRONGLY_TYPED": typed})
        self.BuilderFlag = IntEnum("BuilderFlag", {"TF32": 6})
        self.MemoryPoolType = IntEnum("MemoryPoolType", {"WORKSPACE": 0})
        self.Builder = self._builder()

    def _builder(self) -> type[Builder]:
        machine = self

        class OfThisMachine(Builder):
            def __init__(self, logger: Any) -> None:
                if not machine.usable:
                    logger.log(Log.Severity.ERROR, "Unable to initialize CUDA (error code: 100)")
                    raise TypeError("pybind11::init(): factory function returned nullptr")
                self._logger = logger

            def create_network(self, flags: int = 0) -> Network:
                machine.networks.append(flags)
                return Network()

            def create_builder_config(self) -> Config:
                machine.configs.append(Config(machine))
                return machine.configs[-1]

            def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
                if not machine.builds:
                    self._logger.log(Log.Severity.ERROR, "Could not find any implementation")
                    return None
                assert config.profile is not None
                assert network.model is not None
                header = json.dumps(config.profile.shapes).encode()
                return header + b"\0" + network.model.SerializeToString()

        return OfThisMachine


def install(monkeypatch: pytest.MonkeyPatch, version: str = "10.16.1.11") -> tuple[FakeTensorRT, FakeCuda]:
    """Make both importable in place of the real ones, and a driver loadable, for one test."""
    monkeypatch.setattr(nvidia, "loadable", lambda names: names[0])
    tensorrt, cuda = FakeTensorRT(version), FakeCuda()
    bindings = ModuleType("cuda.bindings")
    for name, module in (
        ("tensorrt", tensorrt),
        ("cuda", ModuleType("cuda")),
        ("cuda.bindings", bindings),
        ("cuda.bindings.runtime", cuda),
    ):
        monkeypatch.setitem(sys.modules, name, module)  # type: ignore[arg-type]
    return tensorrt, cuda


@contextmanager
def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> Iterator[None]:
    """Nothing of these names can be imported inside the block, installed or not."""
    with monkeypatch.context() as patched:
        for name in modules:
            patched.setitem(sys.modules, name, None)  # type: ignore[arg-type]
        yield


def _shape(end: Any) -> tuple[int, ...]:
    sizes = end.type.tensor_type.shape.dim
    return tuple(size.dim_value if size.HasField("dim_value") else -1 for size in sizes)
