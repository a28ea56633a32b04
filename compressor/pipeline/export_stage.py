"""Stage `export`: bundles of the student, of its control and of the teacher, each behind the parity gate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.pipeline.context import Context
from compressor.pipeline.distill_stage import roles
from compressor.pipeline.precision_search import search_inputs, search_precisions
from compressor.pipeline.runtimes import runtime_inputs, runtimes_planned
from compressor.pipeline.stage import Outcome, Stage
from compressor.runtime.schema import BundleManifest, Role

if TYPE_CHECKING:
    from compressor.students.encoder import Model


def about(context: Context) -> str:
    names = [*roles(context), *(["teacher"] if context.teacher_has_bundle else [])]
    precisions = ", ".join(context.recipe.export.tried)
    others = runtimes_planned(context.recipe)
    search = ", timed, the best kept" if context.recipe.export.search else ""
    return f"{', '.join(names)} to ONNX ({precisions}){others}, each checked against PyTorch{search}"


def inputs(context: Context) -> dict[str, Any]:
    return {
        "export": context.recipe.export.model_dump(mode="json"),
        "val": context.pairs(context.validation_split).fingerprint,
        **_calibration_inputs(context),
        **search_inputs(context),
        **runtime_inputs(context.recipe),
    }


def _calibration_inputs(context: Context) -> dict[str, Any]:
    calibrates = "int8_static" in context.recipe.export.tried
    return {"train": context.pairs("train").fingerprint} if calibrates else {}


def run(context: Context, key: str) -> Outcome:
    from compressor.teachers.checkpoint import load_any_checkpoint

    outputs: list[Path] = []
    facts: dict[str, Any] = {}
    done: list[str] = []
    for role in roles(context):
        folder = context.folder.checkpoint if role == "student" else context.folder.root / role / "checkpoint"
        manifest = _export(context, load_any_checkpoint(folder), role, outputs)
        facts[role] = _facts(manifest)
        done.append(_summary(role, manifest))
    if context.teacher_has_bundle:
        manifest = _export(context, context.teacher_model, "teacher", outputs)
        facts["teacher"] = _facts(manifest)
        done.append(_summary("teacher", manifest))
    return Outcome(outputs, "; ".join(done), facts)


def _export(context: Context, model: Model, role: Role, outputs: list[Path]) -> BundleManifest:
    """One bundle. Only the student gets every precision: the others are there to be compared with at fp32."""
    from compressor.export.bundle_writer import write_bundle
    from compressor.export.samples import CalibrationSamples, ParitySamples

    section = context.recipe.export
    if role != "student":
        section = section.reference()
    context.reporter.work(f"exporting the {role}", 0, 1)
    samples = ParitySamples.of_pairs(
        context.pairs(context.validation_split),
        context.decoded(context.validation_split).kept,
        model.preprocessor,
        section.parity.samples,
    )
    calibration = None
    if "int8_static" in section.tried:
        calibration = CalibrationSamples.of_pairs(
            context.pairs("train"), model.preprocessor, section.calibration.samples
        )
    target = context.folder.bundle_of(role)
    manifest = write_bundle(
        model,
        target,
        section,
        role=role,
        samples=samples,
        lineage=context.lineage(),
        calibration=calibration,
        judge_quality=not context.rehearsal,
        timing_cache=context.folder.cache / "tensorrt",
    )
    if section.search:
        manifest = search_precisions(context, manifest)
    context.reporter.work(f"exporting the {role}", 1, 1)
    outputs.append(target)
    return manifest


def _facts(manifest: BundleManifest) -> dict[str, Any]:
    return {"default": manifest.default_precision, "parameters": manifest.parameters}


def _summary(role: str, manifest: BundleManifest) -> str:
    parts = [f"{name} {artifact.status}" for name, artifact in manifest.artifacts.items()]
    left_out = manifest.search.left_out if manifest.search is not None else {}
    parts += [f"{name} {'left out' if name in left_out else 'not made'}" for name in manifest.not_made]
    if manifest.search is not None:
        parts += [f"{goal} is {name}" for goal, name in manifest.search.winners.items()]
    return f"{role} {manifest.parameters['total'] / 1e6:.2f} M parameters, {', '.join(parts)}"


STAGE = Stage("export", ("teacher", "cache", "distill"), about, inputs, run)
