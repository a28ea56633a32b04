"""Stage `report` of a student that writes: the same files, of what was written."""

from __future__ import annotations

from typing import Any

from compressor.files import read_json
from compressor.pipeline import report_stage
from compressor.pipeline.context import Context
from compressor.pipeline.report_stage import EARLIER, lineage
from compressor.pipeline.stage import Outcome, Stage
from compressor.report.results import Results
from compressor.runtime.manifest import read_manifest
from compressor.runtime.schema import Role, TowerArtifact
from compressor.runtime.writer_schema import WriterManifest

ROLES: tuple[Role, ...] = ("teacher", "student")


def run(context: Context, key: str) -> Outcome:
    return report_stage.publish(context, assemble(context))


def assemble(context: Context) -> Results:
    """Results without goals, from what the earlier stages recorded."""
    folder = context.folder
    records = {stage: folder.record(stage) or {} for stage in EARLIER}
    evaluation, benchmark = read_json(folder.evaluation), read_json(folder.benchmark)
    training = {role: facts for role, facts in records["distill"]["facts"].items() if isinstance(facts, dict)}
    if "fine_tuning" in records["teacher"]["facts"]:
        training["teacher"] = records["teacher"]["facts"]["fine_tuning"]
    manifests = {role: _manifest(context, role) for role in ROLES}
    return Results(
        name=context.recipe.name,
        rehearsal=context.rehearsal,
        recipe=context.recipe.model_dump(mode="json"),
        lineage=lineage(context, records),
        device=benchmark["device"],
        quality=evaluation["quality"],
        retention=evaluation["retention"],
        latency=benchmark["latency"],
        size=_sizes(manifests),
        artifacts=_artifacts(manifests["student"], benchmark["artifacts"]),
        not_made=manifests["student"].not_made,
        training=training,
        data={**records["cache"]["facts"], **evaluation["data"]},
        stages={stage: {"seconds": record["seconds"]} for stage, record in records.items()},
        examples=evaluation["examples"],
    )


def _manifest(context: Context, role: Role) -> WriterManifest:
    manifest = read_manifest(context.folder.bundle_of(role))
    assert isinstance(manifest, WriterManifest)
    return manifest


def _sizes(manifests: dict[Role, WriterManifest]) -> dict[str, Any]:
    """Sizes at fp32, so that the ratio compares like with like."""
    sizes: dict[str, Any] = {
        role: {
            "parameters": manifest.parameters["total"],
            "image_parameters": manifest.parameters["image"],
            "text_parameters": manifest.parameters["text"],
            "bytes": sum(file.bytes for file in manifest.artifacts["fp32"].files()),
        }
        for role, manifest in manifests.items()
    }
    for figure, name in (("parameters", "parameter_ratio"), ("bytes", "bytes_ratio")):
        sizes[name] = sizes["student"][figure] / sizes["teacher"][figure]
    return sizes


def _artifacts(manifest: WriterManifest, timings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {
            "graphs": {graph: _graph(found) for graph, found in artifact.graphs.items()},
            **artifact.model_dump(mode="json", exclude={"graphs"}),
            **timings.get(name, {}),
        }
        for name, artifact in manifest.artifacts.items()
    }


def _graph(found: TowerArtifact) -> dict[str, Any]:
    files = [found.file, found.external_data]
    return {
        "cosine": found.cosine,
        "worst_cosine": found.worst_cosine,
        "bytes": sum(file.bytes for file in files if file is not None),
        "status": found.status,
        "reason": found.reason,
    }


STAGE = Stage("report", EARLIER, report_stage.about, report_stage.inputs, run)
