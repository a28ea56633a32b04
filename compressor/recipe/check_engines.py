"""What a recipe can ask of TensorRT."""

from __future__ import annotations

from collections.abc import Iterator

from compressor.recipe.outcome import ExportSection, engine_name
from compressor.recipe.overrides import KeyPath
from compressor.recipe.recipe import Recipe

NOT_READ_BY_TENSORRT = {
    "int8": "activations that are quantised as they come",
    "int8_weights": "an operator of ONNX Runtime's own",
    "int4_weights": "an operator of ONNX Runtime's own",
}
"""Precisions of the ONNX artifacts from which no engine can be built, and what is in them."""


def engine_findings(recipe: Recipe) -> Iterator[tuple[KeyPath, str]]:
    """What TensorRT can be asked for; whether this machine has it, the export stage finds out."""
    yield from section_findings(recipe.export, writes=recipe.head is not None)


def section_findings(export: ExportSection, *, writes: bool) -> Iterator[tuple[KeyPath, str]]:
    """The same for a model without a recipe around it; `writes`: it captions or answers."""
    section, path = export.tensorrt, ("export", "tensorrt")
    if section is None:
        return
    if writes:
        yield path, "is for students that embed, and this one writes; allowed: null"
    if len(set(section.precisions)) < len(section.precisions):
        yield (*path, "precisions"), f"names one twice: {', '.join(section.precisions)}"
    if export.text_length == "dynamic":
        yield (
            path,
            "runs texts of one length, and export.text_length is dynamic; allowed: null, or "
            "export.text_length=fixed",
        )
    readable = [name for name in export.tried if name not in NOT_READ_BY_TENSORRT]
    for precision in dict.fromkeys(section.precisions):
        if precision in NOT_READ_BY_TENSORRT:
            why = f"{precision} has {NOT_READ_BY_TENSORRT[precision]}, which TensorRT does not read"
        elif precision not in export.tried:
            why = f"export.precisions makes no {precision} graph to build from"
        else:
            continue
        yield (*path, "precisions"), f"{why}; allowed: {', '.join(readable) or 'none'}"
    if "int8_static" in section.precisions and export.calibration.activations != "int8":
        yield (
            ("export", "calibration", "activations"),
            f"is {export.calibration.activations}, and export.tensorrt asks for int8_static: TensorRT "
            "reads no zero points; allowed: int8",
        )
    for tower in ("image", "text"):
        sizes = getattr(section.profiles, tower)
        if not sizes.min <= sizes.opt <= sizes.max:
            yield (
                (*path, "profiles", tower),
                f"is min {sizes.min}, opt {sizes.opt}, max {sizes.max}; allowed: min <= opt <= max",
            )


def no_such_engine(artifact: str) -> str | None:
    """Why a recipe that does not ask for this artifact has no figures of it; None where it is no engine."""
    return f"export.tensorrt makes no {artifact}" if artifact.startswith(engine_name("")) else None
