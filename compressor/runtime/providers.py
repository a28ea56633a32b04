"""ONNX Runtime's execution providers by friendly names, and sessions that really run on them.

`onnxruntime.get_available_providers()` lists what a build was compiled with, not what works: a provider
whose libraries do not load is dropped with a line on stderr, and the graph runs on the CPU. Here a session
that does not use what was asked for is an error that names the libraries that are missing.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.errors import BundleError, MissingDependencyError
from compressor.runtime.libraries import missing_for
from compressor.runtime.processor import adds_int8_in_16_bits
from compressor.runtime.tower import check_threads, first_line

if TYPE_CHECKING:
    import onnxruntime

NAMES = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "directml": "DmlExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "qnn": "QNNExecutionProvider",
}
DEFAULT_PROVIDERS = ("CPUExecutionProvider",)
_ON_CUDA = (NAMES["cuda"], NAMES["tensorrt"])
_BUILDS = {
    NAMES["cuda"]: "compressor[gpu]",
    NAMES["tensorrt"]: "compressor[gpu]",
    NAMES["openvino"]: "onnxruntime-openvino",
    NAMES["directml"]: "onnxruntime-directml",
    NAMES["migraphx"]: "onnxruntime-migraphx",
    NAMES["qnn"]: "onnxruntime-qnn",
}


@dataclass(frozen=True)
class Provider:
    """An execution provider by ONNX Runtime's name, with its options."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)


def provider(
    name: str, *, device_id: int | None = None, fp16: bool = False, engine_cache: Path | None = None
) -> Provider:
    """A provider by its friendly name (`NAMES`) or ONNX Runtime's own.

    `device_id`: which GPU. `fp16`: the TensorRT provider may compute in half precision. `engine_cache`: a
    folder where the TensorRT provider keeps engines and kernel timings; without it every process builds its
    engines anew, which takes minutes. Raises `ValueError` for an option that the provider does not have.
    """
    full = NAMES.get(name, name)
    options: dict[str, str] = {}
    if device_id is not None:
        if full not in (*_ON_CUDA, NAMES["directml"], NAMES["migraphx"]):
            raise ValueError(f"{name} has no device_id")
        options["device_id"] = str(device_id)
    if (fp16 or engine_cache is not None) and full != NAMES["tensorrt"]:
        raise ValueError(f"fp16 and engine_cache are options of tensorrt, not of {name}")
    if fp16:
        options["trt_fp16_enable"] = "1"
    if engine_cache is not None:
        for kind in ("engine", "timing"):
            options |= {f"trt_{kind}_cache_enable": "1", f"trt_{kind}_cache_path": str(engine_cache)}
    return Provider(full, options)


def open_session(
    path: Path,
    threads: int,
    providers: Sequence[str | Provider] = DEFAULT_PROVIDERS,
    low_memory: bool = False,
) -> onnxruntime.InferenceSession:
    """A session of the graph at `path` that runs on `providers`, best first, or none.

    `low_memory`: memory of a call is given back after it, and not kept for the next.

    Raises `BundleError` where a provider is not in this build or does not load (naming what is missing), or
    the graph does not load; `MissingDependencyError` without ONNX Runtime.
    """
    runtime = load_onnxruntime()
    check_threads(threads)
    wanted = [each if isinstance(each, Provider) else provider(each) for each in providers]
    names = [each.name for each in wanted]
    available = runtime.get_available_providers()
    for name in names:
        if name not in available:
            raise BundleError(_not_in_build(name, available))
    _load_gpu_libraries(runtime, names)
    try:
        session = runtime.InferenceSession(
            str(path),
            _options(runtime, threads, low_memory),
            providers=[(each.name, dict(each.options)) if each.options else each.name for each in wanted],
            enable_fallback=0,  # it prints on stdout, and a fallback is refused below in any case
        )
    except Exception as error:  # ONNX Runtime's own classes share no base but Exception
        missing = _missing_libraries(runtime, names)
        raise BundleError(
            f"{path}: ONNX Runtime cannot load this graph: {missing or first_line(error)}"
        ) from error
    in_use = session.get_providers()
    if in_use[: len(names)] != names:
        why = _missing_libraries(runtime, names) or "their libraries load, so look at the GPU and its driver"
        raise BundleError(
            f"{path}: ONNX Runtime fell back to {', '.join(in_use)} although {', '.join(names)} was asked "
            f"for: {why}"
        )
    return session


def load_onnxruntime() -> Any:
    """The module `onnxruntime`. Raises `MissingDependencyError` where it is not installed."""
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise MissingDependencyError(
            "ONNX Runtime is not installed; `pip install 'compressor[cpu]'`, or [gpu] on a machine with CUDA"
        ) from error


def _load_gpu_libraries(runtime: Any, names: Sequence[str]) -> None:
    """Load what these providers need of CUDA, cuDNN and TensorRT from their Python packages, where they are
    installed as such.

    The dynamic linker does not look into Python packages; a library that the process has loaded is found by
    its name ever after.
    """
    if any(name in _ON_CUDA for name in names):
        with redirect_stdout(StringIO()), suppress(Exception):  # what is missing is named when it is needed
            runtime.preload_dlls()
    if NAMES["tensorrt"] in names:
        with suppress(Exception):
            importlib.import_module("tensorrt")


def why_unusable(name: str) -> str | None:
    """What keeps a provider, by its friendly name or ONNX Runtime's, from being used; None where nothing is
    known to. Whether its GPU works, only a session tells."""
    full = NAMES.get(name, name)
    try:
        runtime = load_onnxruntime()
        available = runtime.get_available_providers()
    except (MissingDependencyError, AttributeError) as error:
        return str(error)
    if full not in available:
        return _not_in_build(full, available)
    _load_gpu_libraries(runtime, [full])
    return _missing_libraries(runtime, [full]) or None


def _options(runtime: Any, threads: int, low_memory: bool) -> onnxruntime.SessionOptions:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    # The graphs are chains: there is nothing to run side by side.
    options.inter_op_num_threads = 1
    # Idle threads sleep instead of spinning: the two towers (and, in a benchmark, other models) have a pool
    # each, and a spinning pool takes its cores from the one at work.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Slower, and right; where nothing overflows it would be slower only.
    options.add_session_config_entry("session.x64quantprecision", "1" if adds_int8_in_16_bits() else "0")
    options.log_severity_level = 3
    if low_memory:
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
    return options


def _not_in_build(name: str, available: Sequence[str]) -> str:
    build = _BUILDS.get(name)
    how = f"`pip install '{build}'` in place of it" if build else "install a build that has it"
    return (
        f"execution provider {name} is not in this ONNX Runtime (it has {', '.join(available)}); {how}, or "
        "ask for another"
    )


def _missing_libraries(runtime: Any, names: Sequence[str]) -> str:
    """The libraries that the providers' own need and that do not load, as words; nothing where all do."""
    folder = Path(runtime.__file__).parent / "capi"
    told = []
    for name in names:
        short = name.removesuffix("ExecutionProvider").lower()
        missing = missing_for(folder / f"libonnxruntime_providers_{short}.so")
        if missing:
            told.append(f"{name} needs {', '.join(missing)}, which cannot be loaded")
    return "; ".join(told)
