"""Exact search by brute force: every row is compared, and equal scores are ordered by id."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CELLS = 16_000_000
"""Scores held at a time: 64 MB."""
_ROWS = 4_096
_GATHER = 8
"""One row of so many is copied out faster than all are compared."""
_EPSILON = float(np.finfo(np.float32).eps)


def nearest(
    rows: NDArray[np.float32],
    queries: NDArray[np.float32],
    k: int,
    among: NDArray[np.int64] | None = None,
) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """For each of (Q, D) queries the places of its k nearest of (N, D) rows, best first, and their scores.

    The scores are dot products in float64; equal ones are ordered by place. A float32 product of the matrices
    finds the rows that can be among the best, with a margin for its rounding; float64 decides among them. By
    itself the float32 product gives equal rows unequal scores, by where they stand in its blocks. `among`:
    places, rising, of the only rows that count.
    """
    if among is not None and _GATHER * len(among) < len(rows):
        return [(among[near], scores) for near, scores in nearest(rows[among], queries, k)]
    places = np.arange(len(rows)) if among is None else among
    wanted = min(k, len(places))
    if wanted == 0:
        return [(np.empty(0, np.int64), np.empty(0, np.float64)) for _ in queries]
    margin = 4 * rows.shape[1] * _EPSILON
    found = []
    step = max(1, _CELLS // len(rows))
    for start in range(0, len(queries), step):
        block = queries[start : start + step]
        for query, scores in zip(block, block @ rows.T, strict=True):
            rough = scores if among is None else scores[among]
            least = np.partition(rough, len(rough) - wanted)[len(rough) - wanted]
            candidates = places[rough >= least - margin]
            exact = dots(rows, query, candidates)
            order = np.lexsort((candidates, -exact))[:wanted]
            found.append((candidates[order], exact[order]))
    return found


def dots(
    rows: NDArray[np.float32], query: NDArray[np.float32], places: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Dot products in float64 of a query with the rows at `places`; equal rows have equal products."""
    wide = query.astype(np.float64)
    parts = [
        (rows[places[start : start + _ROWS]] * wide).sum(axis=1) for start in range(0, len(places), _ROWS)
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.float64)
