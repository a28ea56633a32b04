"""What a recipe can ask of the export stage: precisions, their default, and OpenVINO."""

from __future__ import annotations

from collections.abc import Iterator

from compressor.recipe.outcome import EXPORT_GOALS, ExportSection, openvino_name
from compressor.recipe.overrides import KeyPath
from compressor.recipe.recipe import Recipe

Finding = tuple[KeyPath, str]
_OPENVINO = openvino_name("")


def export_findings(recipe: Recipe) -> Iterator[Finding]:
    """What is asked for and cannot be made; engines are looked at by `check_engines`."""
    export = recipe.export
    yield from section_findings(export, writes=recipe.head is not None)
    named = export.default in export.precisions or _of_openvino(export.default)
    if named and "fp32" not in export.tried:
        yield (
            ("export", "precisions"),
            "leaves out fp32, at which teacher and student are compared; allowed: fp32 with any others",
        )


def section_findings(export: ExportSection, *, writes: bool) -> Iterator[Finding]:
    """The same for a model without a recipe around it; `writes`: it captions or answers."""
    yield from _precisions(export, writes)
    yield from _openvino(export, writes)


def _precisions(export: ExportSection, writes: bool) -> Iterator[Finding]:
    if export.search:
        if writes:
            yield ("export", "search"), "is for students that embed, and this one writes; allowed: false"
        return
    names = ", ".join(export.precisions)
    if len(set(export.precisions)) < len(export.precisions):
        yield ("export", "precisions"), f"names one twice: {names}"
    if export.default in EXPORT_GOALS:
        yield (
            ("export", "default"),
            f"is {export.default}, which only a search finds; allowed: a precision, or export.search=true",
        )
    elif export.default not in export.precisions and not _of_openvino(export.default):
        where = ("export", "default") if "default" in export.model_fields_set else ("export", "precisions")
        allowed = names or "none is made"
        yield (
            where,
            f"the default precision {export.default} is not among export.precisions; allowed: {allowed}",
        )


def _openvino(export: ExportSection, writes: bool) -> Iterator[Finding]:
    """What OpenVINO can be asked for; whether this machine has it, the export stage finds out."""
    path = ("export", "openvino")
    if _of_openvino(export.default) and export.default not in export.searched:
        yield (
            ("export", "default"),
            f"is {export.default}, which export.openvino does not make; allowed: "
            f"{', '.join(export.searched)}",
        )
    section = export.openvino
    if section is None:
        return
    if writes:
        yield path, "is for students that embed, and this one writes; allowed: null"
    if export.text_length == "dynamic":
        yield (
            path,
            "runs texts of one length, and export.text_length is dynamic; allowed: null, or "
            "export.text_length=fixed",
        )
    if len(set(section.precisions)) < len(section.precisions):
        yield (*path, "precisions"), f"names one twice: {', '.join(section.precisions)}"
    for precision in dict.fromkeys(section.precisions):
        if precision not in export.tried:
            yield (
                (*path, "precisions"),
                f"export.precisions makes no {precision} graph to read; allowed: {', '.join(export.tried)}",
            )


def _of_openvino(artifact: str) -> bool:
    """True for the name of an OpenVINO artifact."""
    return artifact.startswith(_OPENVINO)


def not_in_openvino(artifact: str) -> str | None:
    """Why a recipe that does not ask for this artifact has no figures of it; None where it is none of
    OpenVINO's."""
    return f"export.openvino makes no {artifact}" if _of_openvino(artifact) else None
