"""What runs an artifact, and how a device gets it. Torch-free."""

from __future__ import annotations

from compressor.report.results import ArtifactFigures, ModelQuality, Results
from compressor.runtime.manifest import AnyManifest
from compressor.runtime.schema import Artifact, Runtime

NAMES: dict[Runtime, str] = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "tensorrt": "TensorRT"}
_EXTRAS: dict[Runtime, str] = {"onnxruntime": "cpu", "openvino": "openvino", "tensorrt": "gpu"}


def install(runtime: Runtime) -> str:
    """The command that installs what an artifact for this runtime needs."""
    return f"pip install 'compressor[{_EXTRAS[runtime]}]'"


def runtime_of(manifest: AnyManifest, name: str) -> Runtime:
    """What runs an artifact of a bundle of any kind."""
    artifact = manifest.artifacts[name]
    return artifact.runtime if isinstance(artifact, Artifact) else "onnxruntime"


def default_precision(results: Results) -> str | None:
    """The artifact with which a run's bundle opens, as far as its results tell."""
    quality = results.quality.get("student")
    return quality.precision if isinstance(quality, ModelQuality) else None


def default_runtime(results: Results) -> Runtime:
    """What runs the artifact with which a run's bundle opens, as far as its results tell."""
    opened = results.artifacts.get(default_precision(results) or "")
    return opened.runtime if isinstance(opened, ArtifactFigures) else "onnxruntime"


def other_runtimes(results: Results) -> list[str]:
    """A sentence for each runtime besides ONNX Runtime that artifacts are for."""
    found: dict[Runtime, list[str]] = {}
    for name, artifact in results.artifacts.items():
        if isinstance(artifact, ArtifactFigures) and artifact.runtime != "onnxruntime":
            found.setdefault(artifact.runtime, []).append(name)
    return [
        f"In {NAMES[runtime]} ({install(runtime)}): {', '.join(names)}." for runtime, names in found.items()
    ]
