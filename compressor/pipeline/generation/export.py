"""Stage `export` of a student that writes: bundles of the student and its teacher, behind the parity gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compressor.pipeline.context import Context
from compressor.pipeline.export_stage import inputs as export_inputs
from compressor.pipeline.stage import Outcome, Stage
from compressor.runtime.schema import Role

if TYPE_CHECKING:
    from compressor.runtime.writer_schema import WriterManifest

_ROLES: tuple[Role, ...] = ("student", "teacher")


def about(context: Context) -> str:
    precisions = ", ".join(context.recipe.export.precisions)
    return f"{', '.join(_ROLES)} to ONNX ({precisions}), each checked against PyTorch"


def inputs(context: Context) -> dict[str, Any]:
    return export_inputs(context) | {"generation": _writing(context)}


def run(context: Context, key: str) -> Outcome:
    manifests = {role: _export(context, role) for role in _ROLES}
    facts: dict[str, Any] = {
        role: {"default": manifest.default_precision, "parameters": manifest.parameters}
        for role, manifest in manifests.items()
    }
    done = [_summary(role, manifest) for role, manifest in manifests.items()]
    return Outcome([context.folder.bundle_of(role) for role in _ROLES], "; ".join(done), facts)


def _export(context: Context, role: Role) -> WriterManifest:
    """One bundle. The teacher is there to be compared with, at fp32."""
    from compressor.export.writer_bundle import write_writer_bundle
    from compressor.export.writer_samples import WriterSamples
    from compressor.runtime.writer_schema import Writing

    section, model, split = context.recipe.export, context.writers.trained(role), context.validation_split
    if role != "student":
        section = section.reference()
    samples = WriterSamples.of_pairs(
        context.pairs(split), context.decoded(split).kept, model, section.parity.samples
    )
    return write_writer_bundle(
        model,
        context.folder.bundle_of(role),
        section,
        role=role,
        samples=samples,
        lineage=context.lineage(),
        writing=Writing.model_validate(_writing(context)),
        judge_quality=not context.rehearsal,
        progress=context.progress(f"exporting the {role}"),
    )


def _writing(context: Context) -> dict[str, int]:
    """How texts are written, as measured and as served."""
    return context.recipe.writing.model_dump(include={"beams", "max_length", "min_length"})


def _summary(role: str, manifest: WriterManifest) -> str:
    parts = [f"{name} {artifact.status}" for name, artifact in manifest.artifacts.items()]
    return f"{role} {manifest.parameters['total'] / 1e6:.2f} M parameters, {', '.join(parts)}"


STAGE = Stage("export", ("teacher", "cache", "distill"), about, inputs, run)
