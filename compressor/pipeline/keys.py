"""Identity of a stage's inputs: a stage whose key is unchanged and whose outputs stand is not run again."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from compressor.files import hash_json

# Raised by hand when a stage's code changes what it produces; a mere refactoring must not retrain a model.
CODE_VERSION = {
    "teacher": 1,
    "cache": 1,
    "distill": 1,
    "export": 1,
    "evaluate": 2,
    "benchmark": 2,
    "report": 3,
}

_LIBRARIES = {
    "teacher": ("torch", "transformers", "open_clip_torch", "timm"),
    "cache": ("torch", "torchvision", "Pillow"),
    "distill": ("torch", "timm", "transformers", "tokenizers"),
    "export": ("torch", "onnx", "onnxruntime", "onnxruntime-gpu"),
    "evaluate": ("onnxruntime", "onnxruntime-gpu", "Pillow", "numpy"),
    "benchmark": ("onnxruntime", "onnxruntime-gpu", "numpy"),
    "report": (),
}


def versions(stage: str) -> dict[str, str]:
    """Installed versions (release numbers only) of the libraries that shape a stage's result."""
    found = {}
    for name in _LIBRARIES[stage]:
        try:
            found[name] = metadata.version(name).split("+")[0]
        except metadata.PackageNotFoundError:
            continue
    return found


def stage_key(stage: str, inputs: dict[str, Any], upstream: dict[str, Any]) -> str:
    """Hash of a stage's recipe sections and data, code and library versions, and the outputs it builds on."""
    return hash_json(
        {
            "stage": stage,
            "code": CODE_VERSION[stage],
            "versions": versions(stage),
            "inputs": inputs,
            "upstream": upstream,
        }
    )


def file_identity(path: Path | None) -> dict[str, Any] | None:
    """Cheap identity of a file or folder that may be gigabytes: names, sizes and modification times."""
    if path is None:
        return None
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {str(f): [f.stat().st_size, f.stat().st_mtime_ns] for f in files if f.is_file()}
