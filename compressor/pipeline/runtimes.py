"""Runtimes besides ONNX Runtime that a recipe asks for, and whether this machine has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compressor.errors import MissingDependencyError
from compressor.recipe import Recipe
from compressor.recipe.outcome import OpenVINOSection, TensorRTSection

if TYPE_CHECKING:
    from compressor.pipeline.exporting.request import ExportRecipe


@dataclass(frozen=True)
class _Asked:
    """A runtime that a recipe asks for in the section `key`; `missing` looks at the machine."""

    key: str
    name: str
    what: str
    section: TensorRTSection | OpenVINOSection
    missing: Callable[[], str | None]

    def needed(self, reason: str) -> str:
        """The sentence for a recipe that insists on it where it cannot be had."""
        return (
            f"the recipe asks for {self.what} ({self.key}): {reason}; with {self.key}.optional=true the run "
            "goes on without them"
        )


def require_runtimes(recipe: Recipe | ExportRecipe) -> None:
    """Raise `MissingDependencyError` for a runtime that cannot be had here and that is not optional."""
    for asked in _asked(recipe):
        reason = None if asked.section.optional else asked.missing()
        if reason is not None:
            raise MissingDependencyError(asked.needed(reason))


def runtime_notes(recipe: Recipe) -> list[str]:
    """What a person should know of the runtimes of a recipe before it is run here, if anything."""
    notes = []
    for asked in _asked(recipe):
        reason = asked.missing()
        if reason is not None and asked.section.optional:
            notes.append(f"{asked.what} will be left out on this machine: {reason}")
        elif reason is not None:
            notes.append(asked.needed(reason))
    return notes


def runtimes_planned(recipe: Recipe) -> str:
    """The runtimes as a part of what the export stage is about; nothing where there are none."""
    return "".join(f" and {asked.name} ({', '.join(asked.section.precisions)})" for asked in _asked(recipe))


def runtime_inputs(recipe: Recipe) -> dict[str, Any]:
    """What of this machine an export for other runtimes depends on: one that comes later must be found."""
    found: dict[str, Any] = {}
    if recipe.export.tensorrt is not None:
        found["engines"] = _engine_inputs()
    if recipe.export.openvino is not None:
        found["openvino"] = _openvino_inputs(recipe.export.openvino)
    return found


def _asked(recipe: Recipe | ExportRecipe) -> Iterator[_Asked]:
    tensorrt, openvino = recipe.export.tensorrt, recipe.export.openvino
    if tensorrt is not None:
        yield _Asked("export.tensorrt", "TensorRT", "TensorRT engines", tensorrt, _no_tensorrt)
    if openvino is not None:
        yield _Asked("export.openvino", "OpenVINO", "artifacts for OpenVINO", openvino, _no_openvino)


def _no_tensorrt() -> str | None:
    """Imported where a recipe asks: TensorRT takes a second."""
    from compressor.runtime.nvidia import why_no_tensorrt

    return why_no_tensorrt()


def _no_openvino() -> str | None:
    from compressor.runtime.openvino_tower import why_no_openvino

    return why_no_openvino()


def _engine_inputs() -> dict[str, str]:
    reason = _no_tensorrt()
    if reason is not None:
        return {"missing": reason}
    from compressor.runtime.nvidia import find_gpu, load_tensorrt

    gpu = find_gpu()
    return {"gpu": gpu.name, "tensorrt": str(load_tensorrt().__version__)}


def _openvino_inputs(section: OpenVINOSection) -> dict[str, str]:
    """Verdicts in bfloat16 are not those in float32, and which it is the processor decides."""
    reason = _no_openvino()
    if reason is not None:
        return {"missing": reason}
    from compressor.runtime.openvino_tower import arithmetic, load_openvino

    computed = "f32" if section.compute == "f32" else arithmetic()
    return {"version": str(load_openvino().__version__), "computed": computed}
