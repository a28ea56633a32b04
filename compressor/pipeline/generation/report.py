"""Stage `report` of a student that writes: the same files, of what was written."""

from __future__ import annotations

from typing import Any

from compressor.files import read_json
from compressor.pipeline import report_stage
from compressor.pipeline.context import Context
from compressor.pipeline.report_stage import EARLIER, lineage
from compressor.pipeline.stage import Outcome, Stage
from compressor.report.results import Results


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
    stages: dict[str, Any] = {stage: {"seconds": record["seconds"]} for stage, record in records.items()}
    stages["export"]["skipped"] = records["export"]["facts"]["skipped"]
    return Results(
        name=context.recipe.name,
        rehearsal=context.rehearsal,
        recipe=context.recipe.model_dump(mode="json"),
        lineage=lineage(context, records),
        device=benchmark["device"],
        quality=evaluation["quality"],
        retention=evaluation["retention"],
        latency=benchmark["latency"],
        size=_sizes(benchmark["size"]),
        training=training,
        data={**records["cache"]["facts"], **evaluation["data"]},
        stages=stages,
        examples=evaluation["examples"],
    )


def _sizes(sizes: dict[str, Any]) -> dict[str, Any]:
    teacher, student = sizes["teacher"], sizes["student"]
    return {
        **sizes,
        "parameter_ratio": student["parameters"] / teacher["parameters"],
        "bytes_ratio": student["bytes"] / teacher["bytes"],
    }


STAGE = Stage("report", EARLIER, report_stage.about, report_stage.inputs, run)
