"""Exact search against brute force from the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compressor.gallery.exact import nearest
from tests.gallery.world import unit_rows


def brute_force(
    rows: NDArray[np.float32], query: NDArray[np.float32], k: int, places: list[int]
) -> list[tuple[int, float]]:
    scores = [
        (place, sum(float(x) * float(y) for x, y in zip(rows[place], query, strict=True))) for place in places
    ]
    return sorted(scores, key=lambda found: (-round(found[1], 12), found[0]))[:k]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.integers(1, 70), st.integers(0, 99), st.booleans())
def test_it_is_brute_force_with_ties_by_place(count: int, k: int, seed: int, some: bool) -> None:
    random = np.random.default_rng(seed)
    distinct = unit_rows(max(1, count // 3), 6, seed)
    rows = distinct[random.integers(0, len(distinct), count)]  # many equal rows
    queries = np.concatenate([distinct[:1], unit_rows(2, 6, seed + 1)])
    places = np.flatnonzero(random.random(count) < 0.5) if some else np.arange(count)
    found = nearest(rows, queries, k, places if some else None)
    for query, (near, scores) in zip(queries, found, strict=True):
        wanted = brute_force(rows, query, k, places.tolist())
        assert near.tolist() == [place for place, _ in wanted]
        np.testing.assert_allclose(scores, [score for _, score in wanted], atol=1e-12)


@pytest.mark.parametrize("count", [1_000, 4_099])
def test_a_collapsed_model_ranks_by_place(count: int) -> None:
    """Blocked float32 products differ in the last bit between equal rows; the ranking must not."""
    rows = np.repeat(unit_rows(1, 96), count, axis=0)
    for near, scores in nearest(rows, unit_rows(3, 96, seed=5), 50):
        assert near.tolist() == list(range(50))
        assert len(set(scores.tolist())) == 1


def test_few_of_many_rows() -> None:
    rows, queries = unit_rows(500, 6), unit_rows(2, 6, seed=1)
    among = np.array([3, 77, 410])
    (near, scores), _ = nearest(rows, queries, 2, among)
    wanted = brute_force(rows, queries[0], 2, among.tolist())
    assert near.tolist() == [place for place, _ in wanted]
    assert scores[0] == pytest.approx(wanted[0][1])
