"""A search for precisions: of all that passed the gate, which are worth having, and which is best for what.

Three figures are measured for each: quality (the difference in Recall@K to PyTorch), time (of one image and
one text, over fp32's in the same round) and size in bytes. A precision is *beaten* by another that is no
worse in all three and better in one; what nobody beats is the Pareto set. The bundle keeps that set, besides
fp32, to which all is compared, the precision that the recipe asks for, and what failed its gate. What is
slower than fp32 is shown as that, and wins nothing. Artifacts for OpenVINO compete with those for ONNX
Runtime, whose files they read; a file goes when nothing that is left reads it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from compressor.files import write_json
from compressor.recipe.outcome import EXPORT_GOALS, ExportGoal, ExportSection
from compressor.runtime.schema import MANIFEST, Artifact, BundleManifest, Candidate, Search

REFERENCE = "fp32"


def beaten_by(name: str, candidates: Mapping[str, Candidate]) -> str:
    """The first candidate that is no worse than this one in quality, time and size, and better in one of
    them; empty where there is none."""
    mine = _figures(candidates[name])
    for other, candidate in candidates.items():
        theirs = _figures(candidate)
        if all(a <= b for a, b in zip(theirs, mine, strict=True)) and theirs != mine:
            return other
    return ""


def winners(candidates: Mapping[str, Candidate], allowed_loss: float) -> dict[ExportGoal, str]:
    """The best precision for every goal, of those that are not slower than fp32.

    `smallest` and `fastest` say it themselves. `balanced` has the least sum of three shares: its time and its
    size over fp32's, and how much it uses up of the loss of Recall@K that the gate allows, `allowed_loss` in
    points. fp32 itself has the sum two.
    """
    eligible = {name: found for name, found in candidates.items() if found.ratio <= 1 or name == REFERENCE}
    whole = candidates[REFERENCE].bytes

    def balance(found: Candidate) -> float:
        loss = max(0.0, -(found.recall_delta or 0.0))
        used = loss / allowed_loss if allowed_loss else math.inf if loss else 0.0
        return found.ratio + found.bytes / whole + used

    keys = {
        "smallest": lambda found: (found.bytes, found.ratio),
        "fastest": lambda found: (found.ratio, found.bytes),
        "balanced": lambda found: (balance(found), found.bytes),
    }
    return {goal: min(eligible, key=lambda name: keys[goal](eligible[name])) for goal in EXPORT_GOALS}


def settle(
    folder: Path,
    manifest: BundleManifest,
    measured: Mapping[str, Candidate],
    section: ExportSection,
    threads: int,
    provider: str,
) -> BundleManifest:
    """Keep in the bundle `folder` what the search is for, note what was measured, and return its manifest.

    `measured`: fp32 and every other precision that passed, of which no `beaten_by` is known yet.
    """
    candidates = {
        name: found.model_copy(update={"beaten_by": beaten_by(name, measured)})
        for name, found in measured.items()
    }
    won = winners(candidates, -section.parity.recall_delta)
    default = won[section.default] if section.default in EXPORT_GOALS else manifest.default_precision
    left_out = {
        name: manifest.artifacts[name]
        for name, found in candidates.items()
        if found.beaten_by and name not in (REFERENCE, default, *won.values())
    }
    why = {name: f"the search left it out: {candidates[name].weakness}" for name in left_out}
    settled = manifest.model_copy(
        update={
            "artifacts": {n: found for n, found in manifest.artifacts.items() if n not in left_out},
            "not_made": {**manifest.not_made, **why},
            "default_precision": default,
            "search": Search(
                threads=threads,
                provider=provider,
                candidates=candidates,
                winners={str(goal): name for goal, name in won.items()},
                left_out=left_out,
            ),
        }
    )
    write_json(folder / MANIFEST, settled.model_dump(mode="json"))
    _remove(folder, left_out, {entry.path for entry in settled.files()})
    return settled


def _remove(folder: Path, left_out: Mapping[str, Artifact], kept: set[str]) -> None:
    """Take the files of what is left out from the bundle, but for those that something else reads too."""
    for artifact in left_out.values():
        for entry in artifact.files():
            path = folder / entry.path
            if entry.path not in kept:
                path.unlink(missing_ok=True)  # two that are left out may read the same file
                if path.parent.is_dir() and not any(path.parent.iterdir()):
                    path.parent.rmdir()


def bytes_of(artifact: Artifact) -> int:
    """What an artifact takes on disk."""
    return sum(entry.bytes for entry in artifact.files())


def _figures(candidate: Candidate) -> tuple[float, float, float]:
    """Quality, time and size, the lower the better. Quality that was not judged is the same for all."""
    return -(candidate.recall_delta or 0.0), candidate.ratio, float(candidate.bytes)
