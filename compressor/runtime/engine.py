"""The file of a TensorRT engine: what it was built from and for, then TensorRT's own bytes.

An engine runs on the kind of GPU and the version of TensorRT that built it. TensorRT does not refuse every
other combination by itself, and where it does its message names neither; so the fingerprint is kept in the
same file, where the two cannot come apart, and is compared before TensorRT sees the bytes. Like any engine,
one that came from somebody else should be opened only if they are trusted: hashes show that a file is whole,
not that it means well.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compressor.errors import BundleError
from compressor.files import atomic_write_bytes
from compressor.runtime.nvidia import Gpu

_MAGIC = b"compressor engine 1\n"
_LENGTH = struct.Struct("<I")
_LONGEST = 1 << 20


@dataclass(frozen=True)
class Batches:
    """Batch sizes of an optimisation profile: allowed from `min` to `max`, fastest at `opt`."""

    min: int
    opt: int
    max: int


@dataclass(frozen=True)
class Fingerprint:
    """What an engine was built from and for. `profiles` are by the name of the input."""

    gpu: str
    compute_capability: str
    tensorrt: str
    onnx_sha256: str
    profiles: dict[str, Batches]

    def difference(self, gpu: Gpu, tensorrt: str, onnx_sha256: str | None = None) -> str | None:
        """Why the engine is not for this GPU, this TensorRT and, where it is given, this ONNX file."""
        pairs = [
            ("GPU", self.gpu, gpu.name),
            ("compute capability", self.compute_capability, gpu.compute_capability),
            ("TensorRT", self.tensorrt, tensorrt),
            ("ONNX file with sha256", self.onnx_sha256, onnx_sha256 or self.onnx_sha256),
        ]
        found = [f"{what} {built} and here it is {here}" for what, built, here in pairs if built != here]
        return f"was built for {', '.join(found)}" if found else None


def write_engine(path: Path, fingerprint: Fingerprint, plan: Any) -> None:
    """Write an engine, whole or not at all. `plan` is anything with the buffer interface.

    Raises `DiskFullError` where the disk is full.
    """
    header = json.dumps(asdict(fingerprint), sort_keys=True).encode()
    atomic_write_bytes(path, b"".join([_MAGIC, _LENGTH.pack(len(header)), header, memoryview(plan)]))


def read_engine(path: Path) -> tuple[Fingerprint, bytes]:
    """The fingerprint of an engine file and TensorRT's bytes.

    Raises `BundleError` for a file that cannot be read, or that `write_engine` did not write.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    start = len(_MAGIC) + _LENGTH.size
    if not content.startswith(_MAGIC) or len(content) < start:
        raise BundleError(f"{path}: not an engine that this package wrote; export the bundle again")
    (length,) = _LENGTH.unpack_from(content, len(_MAGIC))
    try:
        if not 0 < length <= min(_LONGEST, len(content) - start):
            raise ValueError("its header has no end")
        fields = json.loads(content[start : start + length])
        profiles = {str(name): Batches(**sizes) for name, sizes in fields.pop("profiles").items()}
        fingerprint = Fingerprint(**fields, profiles=profiles)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BundleError(f"{path}: the fingerprint of this engine is damaged: {error}") from error
    return fingerprint, content[start + length :]
