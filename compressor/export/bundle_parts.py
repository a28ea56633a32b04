"""What the bundles of all kinds of models are made of: files with their hashes, int8 graphs, versions."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from compressor.export.precision.dynamic import quantize_tower
from compressor.runtime.schema import Compute, FileEntry, Runtime

_MOSTLY = 0.5


@dataclass(frozen=True)
class GraphFile:
    """One ONNX file or engine that was written, a remark on it, and what runs it.

    `compute`: what OpenVINO computes in; None for other runtimes.
    """

    path: Path
    external: Path | None = None
    note: str = ""
    runtime: Runtime = "onnxruntime"
    compute: Compute | None = None


def quantized(source: GraphFile, target: Path) -> GraphFile:
    """The int8 version of a graph. Raises whatever ONNX Runtime's quantiser raises."""
    share = quantize_tower(source.path, target, external=source.external is not None)
    external = target.with_name(f"{target.name}.data")
    note = (
        "" if share >= _MOSTLY else f"{share:.0%} of the weights are int8, the rest is not in matrix products"
    )
    return GraphFile(target, external if external.exists() else None, note)


def file_entry(work: Path, path: Path) -> FileEntry:
    """The manifest's entry of a file in the bundle `work`."""
    return FileEntry.of(work, path)


def exporter_versions(opset: int) -> dict[str, Any]:
    """What the graphs were written with."""
    return {
        "opset": opset,
        **{name: version(name) for name in ("torch", "onnx", "onnxscript", "onnxruntime")},
    }
