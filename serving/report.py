"""What `/models` tells of the run that made a bundle: its goals, and quality against latency.

The figures are those of the run's results.json where the bundle still lies in its run, and otherwise those
that the bundle carries itself.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from compressor.recipe.outcome import GOAL
from compressor.report.bundle_results import bundle_results
from compressor.report.results import (
    ArtifactFigures,
    GenerationRetention,
    GoalResult,
    Interval,
    Results,
    Retention,
    TowerFigures,
)
from compressor.runtime.manifest import AnyManifest
from compressor.runtime.schema import BundleManifest, TowerArtifact
from serving.points import OF_CAPTIONS, points_of

_CARRIED = ("rehearsal", "quality", "retention", "latency", "size", "device", "goals")
"""What a bundle's manifest holds of its run's results.json, under the same names."""


def report_of(folder: Path, manifest: AnyManifest, precision: str) -> dict[str, Any] | None:
    """The report of the bundle in `folder` that is open at `precision`; None where no run left figures."""
    run = _of_run(folder, manifest) or _of_bundle(manifest)
    if run is None:
        return None
    points = points_of(run)
    return {
        "run": run.name,
        "split": run.recipe.get("evaluate", {}).get("split", "test"),
        "rehearsal": run.rehearsal,
        "device": (run.device.get("cpu") or {}).get("model"),
        "threads": run.latency.threads if run.latency else None,
        "retention": _retention(run),
        "goals": [_goal(goal) for goal in run.goals],
        "points": [
            asdict(point)
            | {
                "quality_interval": _told(point.quality_interval),
                "latency_interval": _told(point.latency_interval),
                "pareto": point.latency_ms is not None and not any(other.beats(point) for other in points),
                "served": (point.role, point.precision) == (manifest.role, precision),
            }
            for point in points
        ],
    }


def _of_run(folder: Path, manifest: AnyManifest) -> Results | None:
    """results.json of the run that the bundle lies in, if it is the one that the bundle came from."""
    bundle = folder.resolve()
    run = bundle.parent if manifest.role == "student" else bundle.parent.parent
    file = run / "results.json"
    try:
        results = _read(file, file.stat().st_mtime_ns)
    except (OSError, ValueError):  # none, or none of ours: a folder may hold any file of this name
        return None
    if manifest.role != "student":
        return results if manifest.lineage.get("recipe") == results.name else None
    told = bundle_results(results)
    same = all(told.get(part) == manifest.results.get(part) for part in ("quality", "goals"))
    return results if manifest.results and same else None


@lru_cache(maxsize=16)
def _read(file: Path, changed_ns: int) -> Results:
    return Results.model_validate_json(file.read_bytes())


def _of_bundle(manifest: AnyManifest) -> Results | None:
    """The same figures as far as the manifest holds them; None where it was written before the run ended."""
    told = manifest.results
    if not told:
        return None
    try:
        return Results.model_validate(
            {
                "name": manifest.lineage.get("recipe") or manifest.name,
                "recipe": {"evaluate": {"split": told.get("split", "test")}},
                "artifacts": _searched(manifest),
                **{part: _with_nulls(part, told[part]) for part in _CARRIED if part in told},
            }
        )
    except (ValidationError, TypeError):  # an unknown version's figures
        return None


def _with_nulls(part: str, figures: Any) -> Any:
    """A part of a manifest's figures with the nulls that it leaves out and results.json does not."""
    if part == "goals":
        return [{"value": None, **goal} for goal in figures]
    if part == "retention" and set(figures) <= set(Retention.model_fields):
        return {"rsum": None, **figures}
    return figures


def _searched(manifest: AnyManifest) -> dict[str, ArtifactFigures]:
    """What a search for precisions measured, as results.json has it."""
    if not isinstance(manifest, BundleManifest) or manifest.search is None:
        return {}
    found = {}
    for name, artifact in {**manifest.artifacts, **manifest.search.left_out}.items():
        candidate, edges = manifest.search.candidates.get(name), artifact.recall_delta_interval
        if candidate is not None:
            found[name] = ArtifactFigures(
                image=_tower(artifact.image, candidate.image_ms),
                text=_tower(artifact.text, candidate.text_ms),
                recall_delta=artifact.recall_delta,
                recall_delta_interval=Interval(low=edges[0], high=edges[1]) if edges else None,
                status=artifact.status,
            )
    return found


def _tower(tower: TowerArtifact, p50_ms: float) -> TowerFigures:
    held = tower.file.bytes + (tower.external_data.bytes if tower.external_data else 0)
    return TowerFigures(p50_ms=p50_ms, bytes=held, status=tower.status)


def _retention(run: Results) -> dict[str, Any] | None:
    """The share of the teacher's quality that the student keeps."""
    kept = None if run.rehearsal else run.retention
    if isinstance(kept, Retention) and kept.rsum is not None:
        return {"measure": "rsum", "value": kept.rsum, "interval": _told(kept.rsum_interval)}
    if isinstance(kept, GenerationRetention):
        for name in (*OF_CAPTIONS, "vqa_accuracy"):
            if (value := getattr(kept, name)) is not None:
                return {"measure": name, "value": value, "interval": _told(kept.intervals.get(name))}
    return None


def _goal(result: GoalResult) -> dict[str, Any]:
    """A goal, its verdict, and by how much: `margin` is what there is to spare; below zero it is missing."""
    bound = margin = None
    if (asked := GOAL.match(result.goal)) is not None:
        bound = float(asked["value"])
        if result.value is not None:
            over = result.value - bound
            margin = {">": over, "<": -over}.get(asked["op"][0], -abs(over))
    return result.model_dump() | {"bound": bound, "margin": margin}


def _told(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else interval.model_dump()
