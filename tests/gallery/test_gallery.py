"""A gallery as its users meet it."""

from __future__ import annotations

import hashlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compressor.errors import (
    DataError,
    FilterError,
    GalleryError,
    GalleryMismatchError,
    MissingDependencyError,
    MissingResourceError,
)
from compressor.gallery import Gallery, NewItem
from compressor.gallery.pointer import Notes
from compressor.gallery.store import Store
from tests.gallery.world import OTHER, PICTURE, SPACE, WIDTH, filled, new_items, picture, unit_rows


def test_what_was_added_is_there_for_whoever_opens_it_later(tmp_path: Path) -> None:
    gallery, rows = filled(tmp_path / "g", 3)
    gallery.add([NewItem("it's", PICTURE, {"colour": "red"}, source="/a/b.png")], unit_rows(1, seed=9))
    again = Gallery.open(tmp_path / "g", SPACE)
    assert again.count() == 4
    item = again.get("it's")
    assert item is not None
    assert (item.id, item.metadata, item.width, item.height) == ("it's", {"colour": "red"}, 20, 12)
    assert (item.sha256, item.source) == (hashlib.sha256(PICTURE).hexdigest(), "/a/b.png")
    assert item.added_at.endswith("+00:00")
    assert (again.thumbnail("it's") or b"").startswith(b"\xff\xd8")
    vector = again.vector("i0001")
    assert vector is not None
    np.testing.assert_array_equal(vector, rows[1])
    assert (again.get("none"), again.thumbnail("none"), again.vector("none")) == (None, None, None)


def test_adding_an_id_again_replaces_it_everywhere(tmp_path: Path) -> None:
    gallery, rows = filled(tmp_path / "g", 3)
    assert gallery.search(rows[:1], 1)[0][0].id == "i0000"
    gallery.add([NewItem("i0000", picture(5), {"n": "new"})], rows[1:2])
    assert gallery.count() == 3
    first, second, third = gallery.search(rows[1:2], 3)[0]
    assert (first.id, second.id, third.id) == ("i0000", "i0001", "i0002") or first.score == second.score
    assert first.metadata == {"n": "new"}
    assert gallery.count({"n": "new"}) == 1


def test_a_bad_item_never_costs_its_neighbours(tmp_path: Path) -> None:
    gallery, rows = Gallery.open(tmp_path / "g", SPACE, create=True), unit_rows(7)
    rows[4], rows[5] = np.nan, 2 * rows[5]
    items = [
        NewItem("good", PICTURE),
        NewItem("bad", b"no picture"),
        NewItem("", PICTURE),
        NewItem("k", PICTURE, {"a": None}),  # type: ignore[dict-item]
        NewItem("nan", PICTURE),
        NewItem("long", PICTURE),
        NewItem("good", PICTURE),
    ]
    added = gallery.add(items, rows)
    assert added.ids == ["good"]
    assert [error.index for error in added.errors] == [1, 2, 3, 4, 5, 6]
    assert "supported format" in added.errors[0].reason
    assert "not finite" in added.errors[3].reason
    assert "length 2" in added.errors[4].reason
    assert "twice" in added.errors[5].reason
    assert gallery.count() == 1


def test_calls_out_of_bounds_are_refused(tmp_path: Path) -> None:
    gallery, rows = filled(tmp_path / "g", 2)
    with pytest.raises(DataError, match=r"\(1, 8\) float32, not \(2, 8\)"):
        gallery.add(new_items(1), rows)
    with pytest.raises(DataError, match="float64"):
        gallery.add(new_items(2), rows.astype(np.float64))
    with pytest.raises(DataError, match="10,000 items"):
        gallery.add(new_items(1) * 10_001, rows)
    for k in (0, -1, 10_001, 10**9, True, 1.5, "3"):
        with pytest.raises(DataError, match="k is a whole number"):
            gallery.search(rows, k)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="shape"):
        gallery.search(rows[:, :4], 1)
    with pytest.raises(DataError, match="not finite"):
        gallery.search(np.full((1, WIDTH), np.nan, np.float32), 1)
    with pytest.raises(DataError, match="length 0"):
        gallery.search(np.zeros((1, WIDTH), np.float32), 1)
    with pytest.raises(FilterError):
        gallery.search(rows, 1, {"a": {"like": "%"}})
    with pytest.raises(DataError, match="1 to 1,000"):
        gallery.page(limit=0)


def test_search_is_exact_with_ties_by_id_and_gives_what_there_is(tmp_path: Path) -> None:
    gallery, rows = filled(tmp_path / "g", 40)
    gallery.add(new_items(5, "tie"), np.repeat(rows[7:8], 5, axis=0))
    (hits,) = gallery.search(rows[7:8], 10_000)
    assert len(hits) == 45
    assert [hit.id for hit in hits[:6]] == ["i0007", *(f"tie{n:04d}" for n in range(5))]
    for hit in hits:
        stored = gallery.vector(hit.id)
        assert stored is not None
        assert hit.score == pytest.approx(float(stored.astype(np.float64) @ rows[7]), abs=1e-12)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_search_with_a_filter_ranks_only_what_passes(tmp_path: Path) -> None:
    gallery, rows = filled(tmp_path / "g", 40)
    (everything,) = gallery.search(rows[:1], 40)
    (some,) = gallery.search(rows[:1], 5, {"n": {"gte": 10, "lt": 30}})
    assert some == [hit for hit in everything if 10 <= hit.metadata["n"] < 30][:5]  # type: ignore[operator]
    assert gallery.search(rows[:2], 5, {"n": -1}) == [[], []]
    assert gallery.count({"n": {"in": [1, 2, 99]}}) == 2


def test_pages_follow_the_ids_while_items_come_and_go(tmp_path: Path) -> None:
    gallery, _ = filled(tmp_path / "g", 5)
    first = gallery.page(limit=2)
    assert ([item.id for item in first.items], first.cursor) == (["i0000", "i0001"], "i0001")
    gallery.delete(["i0001", "i0003"])
    gallery.add(new_items(1, "a"), unit_rows(1))
    second = gallery.page(first.cursor, 2)
    assert ([item.id for item in second.items], second.cursor) == (["i0002", "i0004"], None)
    assert [item.id for item in gallery.page(None, 10, {"n": 0}).items] == ["a0000", "i0000"]
    assert gallery.page("zzz").items == []


def test_ids_are_ordered_by_code_points(tmp_path: Path) -> None:
    gallery = Gallery.open(tmp_path / "g", SPACE, create=True)
    ids = ["b", "a", "B", "é", "￦", "\U0001f600", "ab", "a'b"]
    gallery.add([NewItem(id, PICTURE) for id in ids], unit_rows(len(ids)))
    listed: list[str] = []
    cursor = None
    while len(listed) < len(ids):
        page = gallery.page(cursor, 3)
        listed += [item.id for item in page.items]
        cursor = page.cursor
    assert listed == sorted(ids)


def test_delete_and_clear(tmp_path: Path) -> None:
    gallery, rows = filled(tmp_path / "g", 5)
    assert gallery.delete(["i0001", "i0001", "none", "' OR true --"]) == 1
    assert gallery.delete([]) == 0
    assert "i0001" not in [hit.id for hit in gallery.search(rows[1:2], 10)[0]]
    assert gallery.clear() == 4
    assert (gallery.count(), gallery.search(rows, 3), gallery.page().items) == (0, [[]] * 5, [])
    gallery.add(new_items(1), rows[:1])
    assert gallery.count() == 1
    with pytest.raises(TypeError):
        gallery.delete("i0001")


def test_a_gallery_of_another_space_is_refused_in_one_sentence(tmp_path: Path) -> None:
    filled(tmp_path / "g", 1)
    for create in (False, True):
        with pytest.raises(GalleryMismatchError, match=r"toy at fp32 .* not of toy at int8") as caught:
            Gallery.open(tmp_path / "g", OTHER, create=create)
    assert "\n" not in str(caught.value)


def test_without_a_bundle_it_can_be_looked_at_but_not_searched(tmp_path: Path) -> None:
    _, rows = filled(tmp_path / "g", 2)
    looked = Gallery.open(tmp_path / "g")
    assert (looked.count(), looked.delete(["i0000"])) == (2, 1)
    with pytest.raises(GalleryError, match="without a bundle"):
        looked.search(rows, 1)
    with pytest.raises(GalleryError, match="without a bundle"):
        looked.add(new_items(1), rows[:1])


def test_places_without_a_gallery_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match="there is no gallery"):
        Gallery.open(tmp_path / "none", SPACE)
    assert not (tmp_path / "none").exists()
    with pytest.raises(MissingResourceError):
        Gallery.open(tmp_path, create=True)
    (tmp_path / "photo.jpg").write_bytes(PICTURE)
    with pytest.raises(GalleryError, match="holds files"):
        Gallery.open(tmp_path, SPACE, create=True)
    with pytest.raises(GalleryError, match="holds files"):
        Gallery.open(tmp_path / "photo.jpg", SPACE, create=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"schema_version": 99}, "newer version"), ({"table": "items_gone"}, "is missing"), (None, "lacks")],
)
def test_newer_and_damaged_galleries_are_one_sentence(tmp_path: Path, change: Any, said: str) -> None:
    filled(tmp_path / "g", 1)
    notes = Notes(Store(str(tmp_path / "g")))
    notes.write(
        "current", {"schema_version": 1} if change is None else (notes.read("current") or {}) | change
    )
    with pytest.raises(GalleryError, match=said) as caught:
        Gallery.open(tmp_path / "g", SPACE)
    assert "\n" not in str(caught.value)


def test_a_file_that_was_cut_off_is_one_sentence(tmp_path: Path) -> None:
    gallery, rows = filled(tmp_path / "g", 3)
    for file in (tmp_path / "g" / f"{gallery.pointer.table}.lance" / "data").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(GalleryError) as caught:
        Gallery.open(tmp_path / "g", SPACE).search(rows, 1)
    assert str(caught.value).startswith(f"{tmp_path / 'g'}: ")
    assert "\n" not in str(caught.value)


def test_info_and_optimize_after_many_small_calls(tmp_path: Path) -> None:
    gallery, rows = Gallery.open(tmp_path / "g", SPACE, create=True), unit_rows(12)
    for n, item in enumerate(new_items(12)):
        gallery.add([item], rows[n : n + 1])
    reader = Gallery.open(tmp_path / "g", SPACE)
    before = reader.search(rows[:3], 5)
    assert gallery.info()["fragments"] == 12
    gallery.optimize()
    facts = gallery.info()
    assert (facts["fragments"], facts["items"], facts["search"]) == (1, 12, "exact")
    assert (facts["fingerprint"], facts["width"], facts["index"]) == (SPACE.fingerprint, WIDTH, None)
    assert json.loads(json.dumps(facts)) == facts
    assert reader.search(rows[:3], 5) == before


def test_without_lancedb_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'compressor\[gallery\]'"):
        Gallery.open(tmp_path / "g", SPACE, create=True)


def test_a_space_of_another_width_is_its_own(tmp_path: Path) -> None:
    wide = replace(SPACE, width=24, fingerprint="c" * 64)
    gallery = Gallery.open(tmp_path / "g", wide, create=True)
    assert gallery.add(new_items(2), unit_rows(2, 24)).ids == ["i0000", "i0001"]


def test_threads_may_add_and_search_at_once(tmp_path: Path) -> None:
    gallery, rows = filled(tmp_path / "g", 10)

    def work(number: int) -> int:
        for call in range(3):
            gallery.add(new_items(2, f"t{number}-{call}-"), rows[:2])
            (hits,) = gallery.search(rows[:1], 1_000)
            found = {hit.id for hit in hits}
            assert {f"t{number}-{call}-0000", f"t{number}-{call}-0001"} <= found
        return len(found)

    with ThreadPoolExecutor(4) as threads:
        assert max(threads.map(work, range(4))) <= 34
    assert gallery.count() == 34


def test_an_address_is_passed_on_as_it_is(tmp_path: Path) -> None:
    """As s3://bucket/gallery would be; file:// is the address that needs no server."""
    address = (tmp_path / "g").as_uri()
    gallery = Gallery.open(address, SPACE, create=True)
    gallery.add(new_items(3), unit_rows(3))
    assert (gallery.uri, gallery.count()) == (address, 3)
    assert [hit.id for hit in Gallery.open(address, SPACE).search(unit_rows(3)[1:2], 1)[0]] == ["i0001"]
    with pytest.raises(MissingResourceError):
        Gallery.open((tmp_path / "none").as_uri(), SPACE)
