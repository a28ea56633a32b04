"""TensorRT, CUDA and the GPU of this machine, and one sentence for whatever of them is missing.

TensorRT 10 and 11 (the Python package `tensorrt`, from the index or from a Jetson's system packages) and
NVIDIA's own `cuda-bindings` are imported at the first call, never before: nothing else of the runtime needs
them. The GPU is CUDA's first; the environment variable CUDA_VISIBLE_DEVICES chooses another.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from compressor.errors import CompressorError, MissingDependencyError
from compressor.runtime.libraries import loadable

TENSORRT_MAJORS = (10, 11)
INSTALL = "pip install 'compressor[gpu]'"
_DRIVER = ("libcuda.so.1", "nvcuda.dll")
"""The driver's library on Linux and on Windows; NVIDIA's packages do not bring it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gpu:
    """A GPU as an engine knows it: its name and compute capability, such as `8.7`."""

    name: str
    compute_capability: str


def why_no_tensorrt() -> str | None:
    """Everything that keeps engines from being built and run here, as words; None where nothing does.

    All of it at once: who installs gigabytes of libraries should know before whether there is a driver.
    """
    reasons = _reasons(load_tensorrt, load_cuda, require_driver) or _reasons(find_gpu)
    return ", and ".join(reasons) or None


def _reasons(*needed: Callable[[], object]) -> list[str]:
    found = []
    for load in needed:
        try:
            load()
        except MissingDependencyError as error:
            found.append(str(error))
    return found


def load_tensorrt() -> Any:
    """The module `tensorrt`.

    Raises `MissingDependencyError` where it is not installed, does not import (then with the name of the
    library that is missing), or is of a version that this package was not made for.
    """
    tensorrt = _imported("tensorrt", "TensorRT")
    version = str(getattr(tensorrt, "__version__", "unknown"))
    major = version.split(".")[0]
    if not major.isdigit() or int(major) not in TENSORRT_MAJORS:
        supported = " and ".join(map(str, TENSORRT_MAJORS))
        raise MissingDependencyError(f"TensorRT {version} is installed, and only {supported} are supported")
    return tensorrt


def load_cuda() -> Any:
    """The CUDA runtime, `cuda.bindings.runtime`. Raises `MissingDependencyError` where it cannot be had."""
    return _imported("cuda.bindings.runtime", "NVIDIA's cuda-bindings")


def require_driver() -> None:
    """Raise `MissingDependencyError` where the NVIDIA driver's library does not load: there is no GPU then,
    or none that a container was given."""
    if loadable(_DRIVER) is None:
        raise MissingDependencyError(
            "there is no NVIDIA driver on this machine (its library libcuda.so.1 cannot be loaded)"
        )


def find_gpu() -> Gpu:
    """CUDA's first GPU. Raises `MissingDependencyError` without the driver, and with CUDA's own reason where
    there is no GPU or the driver is too old."""
    cuda = load_cuda()
    require_driver()
    try:
        (count,) = called(cuda, cuda.cudaGetDeviceCount)
        if not count:
            raise MissingDependencyError("CUDA finds no GPU on this machine")
        (facts,) = called(cuda, cuda.cudaGetDeviceProperties, 0)
    except CudaError as error:
        raise MissingDependencyError(f"no GPU can be used on this machine: {error}") from error
    name = facts.name.decode() if isinstance(facts.name, bytes) else str(facts.name)
    return Gpu(name.rstrip("\0"), f"{facts.major}.{facts.minor}")


class CudaError(CompressorError):
    """A call of the CUDA runtime failed; the message has CUDA's name and description of the error."""


def called(cuda: Any, function: Callable[..., Any], *arguments: Any) -> tuple[Any, ...]:
    """The values of a CUDA call without its error code. Raises `CudaError` for any but success."""
    error, *values = function(*arguments)
    if int(error):
        _, name = cuda.cudaGetErrorName(error)
        _, words = cuda.cudaGetErrorString(error)
        raise CudaError(f"{_text(name)} ({_text(words)}) from {getattr(function, '__name__', 'CUDA')}")
    return tuple(values)


def message_log(tensorrt: Any) -> Any:
    """A logger for TensorRT that passes messages on and remembers errors in its list `errors`.

    It must live as long as whatever it was given to.
    """
    severities = tensorrt.ILogger.Severity
    levels = {
        severities.INTERNAL_ERROR: logging.ERROR,
        severities.ERROR: logging.ERROR,
        severities.WARNING: logging.WARNING,
        severities.INFO: logging.INFO,
    }

    class MessageLog(tensorrt.ILogger):
        """TensorRT calls `log` from its own threads; it must never raise."""

        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            level = levels.get(severity, logging.DEBUG)
            log.log(level, "TensorRT: %s", msg)
            if level == logging.ERROR:
                self.errors.append(msg.strip())

    return MessageLog()


def told(errors: list[str], otherwise: str) -> str:
    """What TensorRT said of a failure, shortened: the first error is the cause, the last the consequence."""
    words = list(dict.fromkeys(errors))
    if not words:
        return otherwise
    chosen = words if len(words) <= 2 else [words[0], words[-1]]
    return "; ".join(word[:300] for word in chosen)


def _imported(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            raise MissingDependencyError(f"{name} is not installed ({INSTALL})") from error
        raise MissingDependencyError(f"{name} is installed but does not import: {error}") from error
    except Exception as error:  # a missing library is an ImportError or an OSError, a bad build anything
        raise MissingDependencyError(f"{name} is installed but does not import: {error}") from error


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
