"""A gallery that grows says when it wants care, and gets it from one process at a time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from compressor.gallery import Gallery, upkeep
from compressor.gallery.keeper import start
from compressor.gallery.pointer import Notes
from compressor.gallery.store import Store
from compressor.gallery.upkeep import is_taken, lease
from tests.gallery.world import SPACE, filled, new_items, unit_rows

LARGE = 300


def grow(gallery: Gallery, calls: int, prefix: str = "more", each: int = 1) -> None:
    for call in range(calls):
        gallery.add(new_items(each, f"{prefix}{call}-"), unit_rows(each))


def pieces(gallery: Gallery) -> int:
    return int(gallery.info()["fragments"])


def test_many_small_calls_are_merged(tmp_path: Path) -> None:
    gallery, rows = filled(tmp_path / "g", 3)
    assert not gallery.due(5)
    grow(gallery, 5)
    assert gallery.due(5)
    before = gallery.search(rows, 20)
    assert gallery.keep_up()
    assert pieces(gallery) == 1
    assert not gallery.due(5)
    assert gallery.search(rows, 20) == before
    grow(gallery, 4, "again")
    assert not gallery.due(5), "what was merged does not count"
    grow(gallery, 1, "last")
    assert gallery.due(5)


def test_few_rows_beside_many_wait_until_they_are_worth_copying_all(tmp_path: Path) -> None:
    gallery, _ = filled(tmp_path / "g", 100)
    gallery.keep_up()
    grow(gallery, 6)
    assert not gallery.due(6)
    grow(gallery, 9, "more still")
    assert gallery.due(6)


def test_deletes_alone_make_it_due_too(tmp_path: Path) -> None:
    gallery, _ = filled(tmp_path / "g", 30)
    gallery.keep_up()
    for n in range(15):
        assert not gallery.due(2)
        gallery.delete([f"i{n:04d}"])
    gallery.delete(["i0020"])
    assert gallery.due(2)
    gallery.keep_up()
    assert not gallery.due(2)
    assert gallery.count() == 14


def test_a_gallery_that_has_become_large_gets_an_index_and_keeps_it_up_to_date(tmp_path: Path) -> None:
    gallery, _ = filled(tmp_path / "g", LARGE - 1, exact_below=LARGE)
    assert not gallery.due()
    grow(gallery, 1)
    assert gallery.due()
    gallery.keep_up()
    info = gallery.info()
    assert (info["search"], info["index"]["rows"]) == ("approximate", LARGE)
    assert info["index"]["recall_at_10"] > 0.9
    assert not gallery.due()
    grow(gallery, 1, "a tenth and more", 40)
    assert gallery.due()
    gallery.keep_up()
    assert gallery.info()["index"]["rows"] == LARGE + 40
    assert not gallery.due()


def test_one_process_at_a_time_has_the_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery, _ = filled(tmp_path / "g", 3)
    grow(gallery, 5)
    notes = Notes(Store(str(tmp_path / "g")))
    for _ in range(2):
        with lease(notes) as first, lease(Notes(Store(str(tmp_path / "g")))) as second:
            assert (first, second) == (True, False)
            assert not gallery.due(5)
            assert not gallery.keep_up()
        assert pieces(gallery) > 1
        assert gallery.due(5)
    monkeypatch.setattr(upkeep, "_LEASE", 0.3)
    dead = lease(notes)
    dead.__enter__()  # whose thread has a long time until it renews it
    time.sleep(0.35)
    assert not is_taken(notes)
    assert gallery.keep_up()


def test_a_lease_is_renewed_while_the_work_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path / "g", 3)
    notes = Notes(Store(str(tmp_path / "g")))
    monkeypatch.setattr(upkeep, "_LEASE", 0.5)
    monkeypatch.setattr(upkeep, "_RENEW", 0.05)
    with lease(notes) as taken:
        assert taken
        time.sleep(0.8)
        assert is_taken(notes)
    assert not is_taken(notes)


def test_who_still_reads_a_gallery_that_was_rebuilt_leaves_it_alone(tmp_path: Path) -> None:
    gallery, _ = filled(tmp_path / "g", 3)
    grow(gallery, 5)
    notes = Notes(Store(str(tmp_path / "g")))
    other = Gallery.open(tmp_path / "g")
    assert other.due(5)
    from dataclasses import replace

    pointer = notes.pointer()
    assert pointer is not None
    assert notes.switch(pointer, replace(pointer, table="items_other"))
    assert not other.due(5)


def test_the_process_does_it_and_gives_way(tmp_path: Path) -> None:
    gallery, _ = filled(tmp_path / "g", LARGE - 10)
    grow(gallery, 10)
    with start(str(tmp_path / "g"), LARGE, 5) as process:
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert (process.returncode, said) == (0, "")
    gallery = Gallery.open(tmp_path / "g", SPACE, exact_below=LARGE)
    assert (pieces(gallery), gallery.info()["search"]) == (1, "approximate")


def test_the_process_ends_with_whoever_started_it(tmp_path: Path) -> None:
    filled(tmp_path / "g", 3)
    process = start(str(tmp_path / "g"), 100, 1)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(30) != 0
    assert process.stderr is not None
    process.stderr.close()


def test_what_cannot_be_kept_up_is_one_sentence(tmp_path: Path) -> None:
    with start(str(tmp_path / "none"), 100, 1) as process:
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert process.returncode == 1
    assert "there is no gallery here" in said
    assert len(said.splitlines()) == 1
    assert not list(tmp_path.iterdir())
