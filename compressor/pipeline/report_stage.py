"""Stage `report`: every figure of the run in one results.json, judged against the goals, told to people."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from compressor import __version__
from compressor.files import read_json, write_json
from compressor.pipeline.context import Context
from compressor.pipeline.distill_stage import roles
from compressor.pipeline.keys import versions
from compressor.pipeline.stage import Outcome, Stage
from compressor.report.results import Results
from compressor.runtime.schema import BundleManifest, Role

EARLIER = ("teacher", "cache", "distill", "export", "evaluate", "benchmark")


def about(context: Context) -> str:
    return "results.json, report.html, report.md, model card, the bundle's own card and figures"


def inputs(context: Context) -> dict[str, Any]:
    return {"recipe": context.recipe.model_dump(mode="json"), "rehearsal": context.rehearsal}


def run(context: Context, key: str) -> Outcome:
    return publish(context, assemble(context))


def publish(context: Context, results: Results) -> Outcome:
    """Judge the goals, write the results and every form of the report, and complete the bundle."""
    from compressor.pipeline.publishing import complete_bundle
    from compressor.report.goals import judge
    from compressor.report.write import write_report

    results = results.model_copy(update={"goals": judge(context.recipe.goals, results)})
    write_json(context.folder.results, results.model_dump(mode="json"))
    curves = {str(role): curve_of(context, role) for role in roles(context)}
    files = [*write_report(context.folder.root, results, curves), *complete_bundle(context, results)]
    return Outcome([context.folder.results, *files], summary(context, results))


def summary(context: Context, results: Results) -> str:
    """How many goals are met, and where to read on."""
    verdicts = [goal.verdict for goal in results.goals]
    counted = ", ".join(f"{verdicts.count(v)} {v}" for v in ("met", "missed", "not judged") if v in verdicts)
    return f"goals: {counted or 'none'}; {context.folder.root / 'report.html'}"


def assemble(context: Context) -> Results:
    """Results without goals, from what the earlier stages recorded."""
    folder = context.folder
    records = {stage: folder.record(stage) or {} for stage in EARLIER}
    evaluation, benchmark = read_json(folder.evaluation), read_json(folder.benchmark)
    manifests = _manifests(context)
    training = {role: facts for role, facts in records["distill"]["facts"].items() if isinstance(facts, dict)}
    if "fine_tuning" in records["teacher"]["facts"]:
        training["teacher"] = records["teacher"]["facts"]["fine_tuning"]
    data = {k: v for k, v in records["cache"]["facts"].items() if k != "store"}
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
        calibration=evaluation["calibration"],
        artifacts=_artifacts(manifests["student"], benchmark["artifacts"]),
        not_made=_not_made(manifests["student"]),
        training=training,
        data={**data, **evaluation["data"]},
        stages={stage: {"seconds": record["seconds"]} for stage, record in records.items()},
        examples=evaluation["examples"],
    )


def _manifests(context: Context) -> dict[str, BundleManifest]:
    names: list[Role] = ["student", "teacher"] if context.teacher_has_bundle else ["student"]
    return {
        role: BundleManifest.model_validate(read_json(context.folder.bundle_of(role) / "bundle.json"))
        for role in names
    }


def _sizes(manifests: dict[str, BundleManifest]) -> dict[str, Any]:
    """Sizes of what was evaluated: the precision with which each bundle opens."""
    sizes: dict[str, Any] = {}
    for role, manifest in manifests.items():
        opened = manifest.artifacts[manifest.default_precision]
        sizes[role] = {
            "parameters": manifest.parameters["total"],
            "image_parameters": manifest.parameters["image"],
            "text_parameters": manifest.parameters["text"],
            "bytes": sum(file.bytes for file in opened.files()),
            "precision": manifest.default_precision,
        }
    if "teacher" in sizes:
        for figure, name in (("parameters", "parameter_ratio"), ("bytes", "bytes_ratio")):
            sizes[name] = sizes["student"][figure] / sizes["teacher"][figure]
    return sizes


def _not_made(manifest: BundleManifest) -> dict[str, str]:
    """What has no figures; what a search left out has some."""
    left_out = manifest.search.left_out if manifest.search is not None else {}
    return {name: reason for name, reason in manifest.not_made.items() if name not in left_out}


def _artifacts(manifest: BundleManifest, timings: dict[str, Any]) -> dict[str, Any]:
    """Figures by precision; times are those of the search where there was one, because all were in it."""
    figures: dict[str, Any] = {}
    search = manifest.search
    left_out = search.left_out if search is not None else {}
    for name, artifact in {**manifest.artifacts, **left_out}.items():
        timed = timings.get(name, {})
        candidate = search.candidates.get(name) if search is not None else None
        if candidate is not None:
            timed = {
                "image": candidate.image_ms,
                "text": candidate.text_ms,
                "ratio": candidate.ratio,
                "slower_than_fp32": candidate.ratio > 1,
            }
        interval = artifact.recall_delta_interval
        towers = {
            tower: {
                "cosine": entry.cosine,
                "worst_cosine": entry.worst_cosine,
                "p50_ms": timed.get(tower),
                "bytes": entry.file.bytes + (entry.external_data.bytes if entry.external_data else 0),
                "status": entry.status,
                "reason": entry.reason,
            }
            for tower, entry in (("image", artifact.image), ("text", artifact.text))
        }
        figures[name] = {
            "runtime": artifact.runtime,
            **towers,
            "recall_delta": artifact.recall_delta,
            "recall_delta_interval": None if interval is None else {"low": interval[0], "high": interval[1]},
            "overlap": artifact.overlap,
            "pair_ratio": timed.get("ratio"),
            "beaten_by": "" if candidate is None else candidate.beaten_by,
            "wins": [goal for goal, won in search.winners.items() if won == name] if search else [],
            "in_bundle": name not in left_out,
            "status": artifact.status,
            "reason": artifact.reason,
            "slower_than_fp32": bool(timed.get("slower_than_fp32", False)),
        }
    return figures


def lineage(context: Context, records: dict[str, Any]) -> dict[str, Any]:
    """Versions, seeds and what each stage was made of."""
    libraries: dict[str, str] = {}
    for stage in EARLIER:
        libraries |= versions(stage)
    return {
        "compressor": __version__,
        "git_revision": _git_revision(),
        "seed": context.recipe.seed,
        "teacher": records["teacher"]["facts"],
        "stage_keys": {stage: record.get("key") for stage, record in records.items()},
        "versions": libraries,
    }


def _git_revision() -> str | None:
    """Revision of the source checkout this runs from; None for an installed wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def curve_of(context: Context, role: str) -> list[dict[str, Any]]:
    """Metrics of a training, a mapping per recorded step; none where someone has cleared `training/`."""
    record = context.folder.record("distill") or {}
    file = context.folder.root / record["facts"][role]["curve"]
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


STAGE = Stage("report", EARLIER, about, inputs, run)
