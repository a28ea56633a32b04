"""TensorRT engines from ONNX graphs, one way for TensorRT 10 and 11.

The network is strongly typed: it computes in the types of the ONNX file and in no others, which is the only
way that TensorRT 11 has (its builder lost the flags for half precision and int8, and the calibrators), and
which 10 has had all along. So the fp16 engine is built from the fp16 graph, that the parity gate has seen.
A float32 engine computes in float32: TF32, which TensorRT allows itself by default, is switched off.

What 10 and 11 have of the same name may have another value (STRONGLY_TYPED is bit 1 and bit 0), so nothing
here is written as a number. An engine is for one kind of GPU and one version of TensorRT; see
`compressor.runtime.engine` for the file. Needs no torch, so that a device can build its own.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressor.errors import DataError, MissingDependencyError, ModelError
from compressor.files import atomic_write_bytes, sha256_file
from compressor.runtime.engine import Batches, Fingerprint, write_engine
from compressor.runtime.nvidia import find_gpu, load_tensorrt, message_log, told

log = logging.getLogger(__name__)

_SHOWN_ERRORS = 3


def build_engine(
    onnx: Path,
    target: Path,
    profiles: Mapping[str, Batches],
    *,
    workspace_bytes: int | None = None,
    timing_cache: Path | None = None,
) -> Fingerprint:
    """Build the engine of the graph at `onnx` for this machine's GPU, write it to `target`, give its
    fingerprint.

    `profiles`: the batch sizes of every input by name. `workspace_bytes`: most GPU memory that a layer may
    take for itself while it runs, None for all there is. `timing_cache`: a folder where measured kernels are
    remembered, a file for each GPU and version; a second build then takes seconds. Minutes otherwise.

    Raises `MissingDependencyError` where TensorRT or a usable GPU is missing; `ModelError` for a graph that
    TensorRT cannot read (with its parser's words), whose inputs do not fit `profiles`, or of which it can
    make no engine; `DataError` where there is no such file; `DiskFullError` where the disk is full.
    """
    if not onnx.is_file():
        raise DataError(f"{onnx}: there is no such ONNX file")
    trt, gpu = load_tensorrt(), find_gpu()
    messages = message_log(trt)
    builder = _builder(trt, messages)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = _parsed(trt, network, messages, onnx)
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    if workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)
    _add_profile(builder, config, network, profiles, onnx)
    cache = None if timing_cache is None else timing_cache / _cache_name(gpu.name, trt.__version__)
    _use_timings(config, cache)
    log.info("building a TensorRT engine of %s for %s", onnx, gpu.name)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ModelError(
            f"{onnx}: TensorRT can make no engine of this graph: "
            f"{told(messages.errors, 'it gives no reason')}"
        )
    fingerprint = Fingerprint(
        gpu.name, gpu.compute_capability, str(trt.__version__), sha256_file(onnx), dict(profiles)
    )
    write_engine(target, fingerprint, plan)
    if cache is not None:
        _keep_timings(config, cache)
    del parser  # the network may use its weights until here
    return fingerprint


def _builder(trt: Any, messages: Any) -> Any:
    try:
        return trt.Builder(messages)
    except TypeError as error:  # what the bindings say where the library returns nothing
        reason = told(messages.errors, "it gives no reason")
        raise MissingDependencyError(f"TensorRT cannot use the GPU of this machine: {reason}") from error


def _parsed(trt: Any, network: Any, messages: Any, onnx: Path) -> Any:
    """Read the graph into the network; the parser, which holds its weights.

    From the file, not from bytes: weights may lie in a second file beside it.
    """
    parser = trt.OnnxParser(network, messages)
    if parser.parse_from_file(str(onnx)):
        return parser
    errors = [parser.get_error(place) for place in range(parser.num_errors)]
    words = [_parser_words(error) for error in errors[:_SHOWN_ERRORS]]
    if len(errors) > _SHOWN_ERRORS:
        words.append(f"and {len(errors) - _SHOWN_ERRORS} more")
    reason = "; ".join(words) or told(messages.errors, "it gives no reason")
    raise ModelError(f"{onnx}: TensorRT cannot read this graph: {reason}")


def _parser_words(error: Any) -> str:
    """The parser's message with the node it is about."""
    node = f"node {error.node()}"
    named = (error.node_name(), error.node_operator()) if hasattr(error, "node_operator") else ("", "")
    about = " ".join(word for word in (named[1], named[0]) if word)
    return f"{node} ({about}): {error.desc()}" if about else f"{node}: {error.desc()}"


def _add_profile(
    builder: Any, config: Any, network: Any, profiles: Mapping[str, Batches], onnx: Path
) -> None:
    """One optimisation profile with the batch sizes of all inputs, whose other dimensions must be fixed."""
    tensors = [network.get_input(place) for place in range(network.num_inputs)]
    names = {tensor.name for tensor in tensors}
    if names != set(profiles):
        raise ModelError(
            f"{onnx}: the graph has the inputs {', '.join(sorted(names))}, and there are profiles for "
            f"{', '.join(sorted(profiles)) or 'none'}"
        )
    for tensor in tensors:
        shape = tuple(tensor.shape)
        if not shape or shape[0] != -1 or -1 in shape[1:]:
            raise ModelError(
                f"{onnx}: {tensor.name} has the shape {shape}; the batch, and nothing else, must be dynamic"
            )
    profile = builder.create_optimization_profile()
    try:
        for tensor in tensors:
            sizes, item = profiles[tensor.name], tuple(tensor.shape)[1:]
            profile.set_shape(tensor.name, *((size, *item) for size in (sizes.min, sizes.opt, sizes.max)))
        accepted = config.add_optimization_profile(profile) >= 0
    except RuntimeError:  # of `set_shape`, which has no other way to refuse
        accepted = False
    if not accepted:
        raise ModelError(f"{onnx}: TensorRT refuses the batch sizes {_shown(profiles)}")


def _shown(profiles: Mapping[str, Batches]) -> str:
    return ", ".join(f"{name} {each.min}/{each.opt}/{each.max}" for name, each in profiles.items())


def _cache_name(gpu: str, version: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", f"timings {gpu} {version}") + ".cache"


def _use_timings(config: Any, cache: Path | None) -> None:
    """Begin with the timings of earlier builds, or with none where they are not for this machine."""
    if cache is None:
        return
    known = cache.read_bytes() if cache.is_file() else b""
    for content in (known, b""):
        timings = config.create_timing_cache(content)
        if timings is not None and config.set_timing_cache(timings, ignore_mismatch=False):
            return
    log.warning("TensorRT takes no timing cache; every kernel will be measured")


def _keep_timings(config: Any, cache: Path) -> None:
    timings = config.get_timing_cache()
    if timings is not None:
        atomic_write_bytes(cache, bytes(memoryview(timings.serialize())))
