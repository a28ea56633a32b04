"""Goals of a recipe, judged against the figures of a run.

A goal is `key operator number`, the key a dotted path into results.json: `retention.rsum >= 0.95`,
`quality.student.rsum >= 300`, `latency.image.student.p50_ms <= 5`, `artifacts.int8.recall_delta >= -0.5`,
`size.student.bytes <= 20e6`, `retention.rsum_interval.low >= 0.9`. Yes and no count as 1 and 0.
"""

from __future__ import annotations

import difflib
import operator
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from compressor.errors import RecipeError
from compressor.recipe.outcome import GOAL
from compressor.report.results import GenerationLatency, GoalResult, Results

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}


_COMPARED = ("recall_delta", "loss_delta", "equal_greedy", "equal_beams")


def judge(goals: Sequence[str], results: Results) -> list[GoalResult]:
    """One verdict per goal, in order.

    `not judged` where the figure does not exist on this run, and on a rehearsal, whose weights are random,
    for all quality and for the latency of models that write, which stop where they choose to. Raises
    `RecipeError` for a key that results.json does not have or that is not a number.
    """
    return [_judge(goal, results) for goal in goals]


def check_goals(goals: Sequence[str]) -> None:
    """Raises `RecipeError` for the first goal whose key cannot exist in any results.json. Needs no run."""
    for goal in goals:
        _walk_type(Results, _parse(goal)[0].split("."), goal)


def is_quality(key: str) -> bool:
    """True for a figure that random weights make meaningless: `quality.*`, `retention.*`, and of
    `artifacts.*` what is compared over data."""
    parts = key.split(".")
    return parts[0] in ("quality", "retention") or (parts[0] == "artifacts" and parts[-1] in _COMPARED)


def _judge(goal: str, results: Results) -> GoalResult:
    key, sign, bound = _parse(goal)
    path = key.split(".")
    _walk_type(Results, path, goal)
    value = _walk_value(results, path, goal)
    reason = _why_unrehearsed(key, results) if results.rehearsal else None
    if reason is not None:
        return GoalResult(goal=goal, value=None, verdict="not judged", reason=reason)
    if value is None:
        return GoalResult(goal=goal, value=None, verdict="not judged", reason=_why_missing(results, path))
    met = _COMPARE[sign](value, bound)
    return GoalResult(goal=goal, value=value, verdict="met" if met else "missed")


def _why_unrehearsed(key: str, results: Results) -> str | None:
    if is_quality(key):
        return "a rehearsal says nothing about quality"
    if key.startswith("latency.") and isinstance(results.latency, GenerationLatency):
        return "untrained models stop writing anywhere, so a rehearsal says nothing about how long it takes"
    return None


def _parse(goal: str) -> tuple[str, str, float]:
    match = GOAL.match(goal)
    if match is None:
        raise RecipeError(f"'{goal}' is not a goal; write it like 'retention.rsum >= 0.90'")
    return match["key"], match["op"], float(match["value"])


def _walk_type(kind: Any, path: list[str], goal: str) -> None:
    """Follow a path through the schema, so that a mistyped key is an error even where its section is null."""
    for place, part in enumerate(path):
        kind = _holder_of(part, kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if part not in kind.model_fields:
                raise _no_such(goal, path[:place], part, kind.model_fields)
            kind = kind.model_fields[part].annotation
        elif get_origin(kind) is dict:
            names, kind = get_args(kind)
            if get_origin(names) is Literal and part not in get_args(names):
                raise _no_such(goal, path[:place], part, get_args(names))
        elif kind is not Any:
            raise RecipeError(
                f"goal '{goal}': {'.'.join(path[:place])} is a single figure and has no '{part}' in it"
            )
    if not any(option in (float, int, bool, Any) for option in get_args(kind) or (kind,)):
        raise RecipeError(f"goal '{goal}': {'.'.join(path)} is not a number; name a figure inside it")


def _walk_value(results: Results, path: list[str], goal: str) -> float | None:
    found: Any = results
    for place, part in enumerate(path):
        if isinstance(found, BaseModel):
            found = getattr(found, part)
        elif isinstance(found, dict) and (place == 1 or part in found):
            found = found.get(part)
        elif isinstance(found, dict):
            raise _no_such(goal, path[:place], part, found)
        if found is None:
            return None
    if isinstance(found, bool | int | float):
        return float(found)
    raise RecipeError(f"goal '{goal}': {'.'.join(path)} is not a number; name a figure inside it")


def _holder_of(part: str, kind: Any) -> Any:
    """Of models that may stand in one place, the first that has the figure; the first where none has."""
    models = [
        option for option in get_args(kind) if isinstance(option, type) and issubclass(option, BaseModel)
    ]
    if len(models) < 2:
        return _without_none(kind)
    return next((model for model in models if part in model.model_fields), models[0])


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        rest = [option for option in get_args(kind) if option is not type(None)]
        return rest[0] if len(rest) == 1 else Any
    return kind


def _no_such(goal: str, before: list[str], part: str, names: Iterable[str]) -> RecipeError:
    known = sorted(names)
    near = difflib.get_close_matches(part, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known) or 'none'}"
    where = ".".join(before) or "results.json"
    return RecipeError(f"goal '{goal}': {where} has no '{part}'; {hint}")


def _why_missing(results: Results, path: list[str]) -> str:
    """A reason a reader understands, for a figure that is null."""
    root = path[0]
    if root == "artifacts" and path[1] not in results.artifacts:
        return f"this run made no {path[1]} artifact"
    if "control" in path[1] if len(path) > 1 else False:
        return "this run trained no control"
    if (
        root == "latency"
        and (results.towers is None or results.towers.image.teacher is None)
        and "student" not in path
    ):
        return "the teacher cannot be run here, so it has no latency"
    if root == "retention" and results.retention is None:
        return "this run has no teacher to compare with"
    return "not available on this run"
