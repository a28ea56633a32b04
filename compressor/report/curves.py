"""Curves of a training out of its metrics, thinned for drawing.

A record is what training writes per step: `{"step", "losses": {name: value}, "weights": {name: value},
"validation": {"rsum": value}}` (`loss` of a model that writes); any of the last three may be missing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compressor.report.numbers import is_number

Points = tuple[tuple[float, float], ...]
DRAWN = 160


@dataclass(frozen=True)
class Curves:
    """Points (step, value) by name. Losses are weighted by the recipe, before the balancer."""

    losses: dict[str, Points]
    weights: dict[str, Points]
    validation: Points
    averaged: int
    """How many steps one drawn point of `losses` and `weights` stands for at most."""


def read_curves(records: Iterable[Mapping[str, Any]]) -> Curves:
    """Curves from metrics records in any order. Values that are not finite numbers are left out."""
    ordered = sorted((r for r in records if is_number(r.get("step"))), key=lambda r: r["step"])
    losses, weights = _collect(ordered, "losses"), _collect(ordered, "weights")
    measured = _collect(ordered, "validation")
    longest = max((len(series) for series in losses.values()), default=0)
    return Curves(
        losses={name: thin(series) for name, series in losses.items()},
        weights={name: thin(series) for name, series in weights.items()},
        validation=tuple(measured.get("rsum") or measured.get("loss", [])),
        averaged=max(1, math.ceil(longest / DRAWN)),
    )


def thin(points: Sequence[tuple[float, float]], most: int = DRAWN) -> Points:
    """At most `most` points, each the mean of equally many neighbours (the last of fewer)."""
    size = max(1, math.ceil(len(points) / most))
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return tuple((sum(p[0] for p in g) / len(g), sum(p[1] for p in g) / len(g)) for g in groups)


def _collect(records: Iterable[Mapping[str, Any]], key: str) -> dict[str, list[tuple[float, float]]]:
    series: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        for name, value in (record.get(key) or {}).items():
            if is_number(value) and math.isfinite(value):
                series.setdefault(str(name), []).append((float(record["step"]), float(value)))
    return series
