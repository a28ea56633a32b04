"""TensorRT engines that a recipe asks for, and whether this machine can build them."""

from __future__ import annotations

from typing import Any

from compressor.errors import MissingDependencyError
from compressor.recipe import Recipe


def engines_missing(recipe: Recipe) -> str | None:
    """Why the engines of a recipe cannot be built here; None where they can, or it asks for none.

    Looks at the machine only where the recipe asks: TensorRT takes a second to import.
    """
    if recipe.export.tensorrt is None:
        return None
    from compressor.runtime.nvidia import why_no_tensorrt

    return why_no_tensorrt()


def require_engines(recipe: Recipe) -> None:
    """Raise `MissingDependencyError` for engines that cannot be built here and that are not optional."""
    reason = engines_missing(recipe)
    if reason is not None and recipe.export.tensorrt is not None and not recipe.export.tensorrt.optional:
        raise MissingDependencyError(needed(reason))


def needed(reason: str) -> str:
    """The sentence for a recipe that insists on engines where they cannot be built."""
    return (
        f"the recipe asks for TensorRT engines (export.tensorrt): {reason}; with "
        "export.tensorrt.optional=true the run goes on without them"
    )


def engine_note(recipe: Recipe) -> str | None:
    """What a person should know of the engines of a recipe before it is run here, if anything."""
    reason = engines_missing(recipe)
    if reason is None or recipe.export.tensorrt is None:
        return None
    if not recipe.export.tensorrt.optional:
        return needed(reason)
    return f"TensorRT engines will be left out on this machine: {reason}"


def engines_planned(recipe: Recipe) -> str:
    """The engines as a part of what the export stage is about; nothing where there are none."""
    section = recipe.export.tensorrt
    if section is None:
        return ""
    return f" and TensorRT ({', '.join(section.precisions)})"


def engine_inputs(recipe: Recipe) -> dict[str, Any]:
    """What of this machine an export with engines depends on: a GPU that comes later must be found."""
    if recipe.export.tensorrt is None:
        return {}
    reason = engines_missing(recipe)
    if reason is not None:
        return {"engines": {"missing": reason}}
    from compressor.runtime.nvidia import find_gpu, load_tensorrt

    gpu = find_gpu()
    return {"engines": {"gpu": gpu.name, "tensorrt": str(load_tensorrt().__version__)}}
