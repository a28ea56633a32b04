"""What this package calls of TensorRT and CUDA, as the real bindings of TensorRT 10.16 and 11.4 and of
cuda-bindings 13.5 declare it. Parameters are in order, `self` left out; None is a property or a value."""

from __future__ import annotations

TENSORRT: dict[str, dict[str, tuple[str, ...] | None]] = {
    "Builder": {
        "create_network": ("flags",),
        "create_builder_config": (),
        "create_optimization_profile": (),
        "build_serialized_network": ("network", "config"),
    },
    "INetworkDefinition": {"num_inputs": None, "get_input": ("index",)},
    "OnnxParser": {"parse_from_file": ("model",), "num_errors": None, "get_error": ("index",)},
    "ParserError": {"node": (), "desc": (), "node_name": (), "node_operator": ()},
    "IBuilderConfig": {
        "clear_flag": ("flag",),
        "set_memory_pool_limit": ("pool", "pool_size"),
        "add_optimization_profile": ("profile",),
        "create_timing_cache": ("serialized_timing_cache",),
        "set_timing_cache": ("cache", "ignore_mismatch"),
        "get_timing_cache": (),
    },
    "IOptimizationProfile": {"set_shape": ("input", "min", "opt", "max")},
    "Runtime": {"deserialize_cuda_engine": ("serialized_engine",)},
    "ICudaEngine": {
        "num_io_tensors": None,
        "get_tensor_name": ("index",),
        "get_tensor_mode": ("name",),
        "get_tensor_dtype": ("name",),
        "get_tensor_shape": ("name",),
        "create_execution_context": (),
    },
    "IExecutionContext": {
        "set_input_shape": ("name", "shape"),
        "set_tensor_address": ("name", "memory"),
        "execute_async_v3": ("stream_handle",),
    },
}
TENSORRT_VALUES = {
    "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
    "BuilderFlag": ("TF32",),
    "MemoryPoolType": ("WORKSPACE",),
    "TensorIOMode": ("INPUT",),
    "DataType": ("FLOAT", "INT64"),
}
STRONGLY_TYPED = {"10": 1, "11": 0}
"""The bit of the flag, by major version: the one value that differs between the two."""
SEVERITIES = {"INTERNAL_ERROR": 0, "ERROR": 1, "WARNING": 2, "INFO": 3, "VERBOSE": 4}
CUDA = {
    "cudaGetDeviceCount": (),
    "cudaGetDeviceProperties": ("device",),
    "cudaGetErrorName": ("error",),
    "cudaGetErrorString": ("error",),
    "cudaStreamCreate": (),
    "cudaStreamDestroy": ("stream",),
    "cudaStreamSynchronize": ("stream",),
    "cudaMalloc": ("size",),
    "cudaFree": ("devPtr",),
    "cudaMemcpyAsync": ("dst", "src", "count", "kind", "stream"),
}
CUDA_VALUES = ("cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost")
