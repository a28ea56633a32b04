"""Galleries above the threshold of exact search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from compressor.gallery import Gallery, Hit, index
from tests.gallery.world import SPACE, new_items, unit_rows

COUNT = 600


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NDArray[np.float32]]:
    at, rows = tmp_path_factory.mktemp("large") / "g", unit_rows(COUNT)
    gallery = Gallery.open(at, SPACE, create=True, exact_below=500)
    gallery.add(new_items(COUNT), rows)
    assert gallery.info()["search"] == "exact"
    gallery.optimize()
    return at, rows


def recall(found: list[list[Hit]], wanted: list[list[Hit]]) -> float:
    return float(
        np.mean(
            [
                len({hit.id for hit in a} & {hit.id for hit in b}) / len(b)
                for a, b in zip(found, wanted, strict=True)
            ]
        )
    )


def test_the_recall_is_measured_and_shown(large: tuple[Path, NDArray[np.float32]]) -> None:
    at, rows = large
    gallery, exact = Gallery.open(at, SPACE, exact_below=500), Gallery.open(at, SPACE)
    facts = gallery.info()
    assert facts["search"] == "approximate"
    assert facts["index"]["kind"] == index.KIND
    assert (facts["index"]["rows"], facts["index"]["queries"]) == (COUNT, 100)
    assert facts["index"]["recall_at_10"] >= 0.9
    measured = recall(gallery.search(rows[::6], 10), exact.search(rows[::6], 10))
    assert measured == pytest.approx(facts["index"]["recall_at_10"], abs=0.08)


@pytest.mark.parametrize("block", [50, 20_000])
def test_filters_never_come_short(
    large: tuple[Path, NDArray[np.float32]], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few are compared one by one; of many the index is asked for more, until enough of them pass."""
    monkeypatch.setattr(index, "_BLOCK", block)
    at, rows = large
    gallery, exact = Gallery.open(at, SPACE, exact_below=500), Gallery.open(at, SPACE)
    for where, passing in (({"n": {"lt": 7}}, 7), ({"n": {"lt": 130}}, 130), ({"n": -1}, 0), ({}, COUNT)):
        for k in (10, 200):
            found, wanted = gallery.search(rows[:4], k, where), exact.search(rows[:4], k, where)
            assert [len(hits) for hits in found] == [min(k, passing)] * 4
            if passing:
                assert recall(found, wanted) >= 0.85
            scores = [[hit.score for hit in hits] for hits in found]
            assert scores == [sorted(row, reverse=True) for row in scores]


def test_more_than_there_are_gives_all(large: tuple[Path, NDArray[np.float32]]) -> None:
    at, rows = large
    (hits,) = Gallery.open(at, SPACE, exact_below=500).search(rows[:1], 10_000)
    assert len({hit.id for hit in hits}) == COUNT


def test_what_comes_after_the_index_is_found(tmp_path: Path) -> None:
    rows = unit_rows(COUNT + 1)
    gallery = Gallery.open(tmp_path / "g", SPACE, create=True, exact_below=500)
    gallery.add(new_items(COUNT), rows[:COUNT])
    gallery.optimize()
    gallery.add(new_items(1, "late"), rows[COUNT:])
    assert gallery.search(rows[COUNT:], 1)[0][0].id == "late0000"
    gallery.delete(["late0000"])
    assert gallery.search(rows[COUNT:], 1)[0][0].id != "late0000"
