"""What bundle.json tells of a run's figures: those of results.json that describe the student."""

from __future__ import annotations

from typing import Any

from compressor.report.results import Results

_BULKY = {"latency": {"batches", "preprocess"}}
_DEVICE = ("cpu", "gpus", "os")


def bundle_results(results: Results) -> dict[str, Any]:
    """Quality, retention, latency, size and goals under the names they have in results.json.

    A rehearsal's quality means nothing and is left out, and so is whatever was not measured.
    """
    whole = results.model_dump(mode="json", exclude_none=True)
    names = ["size", "latency", "goals"]
    if not results.rehearsal:
        names += ["quality", "retention"]
    found: dict[str, Any] = {"split": results.recipe.get("evaluate", {}).get("split", "test")}
    if results.rehearsal:
        found["rehearsal"] = True
    for name in names:
        if whole.get(name):
            found[name] = _without(whole[name], _BULKY.get(name, set()))
    device = {name: results.device[name] for name in _DEVICE if results.device.get(name)}
    return found | ({"device": device} if device else {})


def _without(part: Any, names: set[str]) -> Any:
    if not isinstance(part, dict):
        return part
    return {name: value for name, value in part.items() if name not in names}
