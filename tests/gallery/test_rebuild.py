"""Re-embedding a gallery for another bundle while the old one serves."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from compressor.errors import GalleryError, GalleryMismatchError
from compressor.gallery import Gallery, NewItem, embed
from compressor.gallery import rebuild as module
from compressor.gallery.pointer import Notes
from compressor.gallery.rebuild import read_local, rebuild
from compressor.gallery.store import Store
from compressor.runtime.bundle import Bundle
from tests.gallery.world import picture


def some(at: Path, bundle: Bundle, count: int, keep_originals: bool = False) -> Gallery:
    """A gallery whose items' files lie beside it."""
    items = []
    for n in range(count):
        file = at.parent / f"{n}.png"
        file.write_bytes(picture(n))
        items.append(NewItem(f"i{n}", picture(n), {"n": n}, source=str(file)))
    gallery = Gallery.open(at, bundle, create=True, keep_originals=keep_originals)
    gallery.add(items, embed(bundle, items))
    return gallery


def test_the_new_vectors_are_those_of_the_new_bundle(
    tmp_path: Path, bundle: Bundle, other_bundle: Bundle
) -> None:
    old = some(tmp_path / "g", bundle, 5)
    before = old.get("i3")
    done = rebuild(tmp_path / "g", other_bundle, batch_size=1)  # dynamic int8 depends on the batch
    assert (done.items, done.lost) == (5, {})
    vector = done.gallery.vector("i3")
    assert vector is not None
    np.testing.assert_allclose(vector, other_bundle.encode_images([picture(3)])[0], atol=1e-6)
    assert done.gallery.get("i3") == before
    assert done.gallery.thumbnail("i3") == old.thumbnail("i3")
    with pytest.raises(GalleryMismatchError):
        Gallery.open(tmp_path / "g", bundle)
    again = rebuild(tmp_path / "g", other_bundle)
    assert (again.items, again.gallery.pointer) == (5, done.gallery.pointer)


def test_the_old_gallery_is_read_on_and_written_no_more(
    tmp_path: Path, bundle: Bundle, other_bundle: Bundle
) -> None:
    old = some(tmp_path / "g", bundle, 3)
    rows = bundle.encode_images([picture(1)])
    assert not old.superseded
    done = rebuild(tmp_path / "g", other_bundle)
    assert old.superseded
    assert old.search(rows, 1)[0][0].id == "i1"
    with pytest.raises(GalleryMismatchError, match="rebuilt for another bundle"):
        old.add([NewItem("late", picture())], rows)
    with pytest.raises(GalleryMismatchError):
        old.delete(["i1"])
    assert done.gallery.remove_superseded() == [old.pointer.table]
    with pytest.raises(GalleryError):
        old.get("i1")
    assert done.gallery.count() == 3


def test_what_comes_changes_and_goes_meanwhile_is_in_the_new_gallery(
    tmp_path: Path, bundle: Bundle, other_bundle: Bundle
) -> None:
    old = some(tmp_path / "g", bundle, 4, keep_originals=True)
    told: list[str] = []

    def interfere(done: int, total: int, id: str) -> None:
        told.append(id)
        if len(told) == 1:
            for item in (NewItem("new", picture(8)), NewItem("i0", picture(9), {"n": "changed"})):
                old.add([item], embed(bundle, [item]))
            old.delete(["i1", "i3"])

    done = rebuild(tmp_path / "g", other_bundle, batch_size=1, progress=interfere)
    assert [item.id for item in done.gallery.page().items] == ["i0", "i2", "new"]
    changed = done.gallery.vector("i0")
    assert changed is not None
    np.testing.assert_allclose(changed, other_bundle.encode_images([picture(9)])[0], atol=1e-6)


def test_a_commit_after_the_switch_is_not_acknowledged(
    tmp_path: Path, bundle: Bundle, other_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer looked at the pointer before it, and must look again afterwards."""
    old = some(tmp_path / "g", bundle, 2, keep_originals=True)
    item = NewItem("late", picture(8))
    row = embed(bundle, [item])
    refused = []

    def switch_first(*arguments: object) -> None:
        monkeypatch.undo()
        rebuild(tmp_path / "g", other_bundle)
        refused.append(True)

    from compressor.gallery import gallery as writing

    real = writing.upsert

    def slow(*arguments: object) -> None:
        switch_first()
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(writing, "upsert", slow)
    with pytest.raises(GalleryMismatchError):
        old.add([item], row)
    assert refused


def test_a_rebuild_that_was_stopped_leaves_the_old_gallery_and_goes_on(
    tmp_path: Path, bundle: Bundle, other_bundle: Bundle
) -> None:
    old = some(tmp_path / "g", bundle, 4)

    def stop(done: int, total: int, id: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(tmp_path / "g", other_bundle, batch_size=1, progress=stop)
    assert Gallery.open(tmp_path / "g", bundle).count() == 4
    told: list[int] = []
    rebuild(tmp_path / "g", other_bundle, batch_size=1, progress=lambda done, total, id: told.append(done))
    assert told == [3, 4]
    assert sorted(Store(str(tmp_path / "g")).names())[0] == "gallery"
    assert len(Store(str(tmp_path / "g")).names()) == 3
    assert old.superseded


def test_a_rebuild_that_died_while_switching_holds_writers_up_only_for_a_while(
    tmp_path: Path, bundle: Bundle, other_bundle: Bundle
) -> None:
    gallery = some(tmp_path / "g", bundle, 1)
    notes = Notes(Store(str(tmp_path / "g")))
    pointer = notes.pointer()
    assert pointer is not None
    frozen = pointer.frozen(0.3)
    assert notes.switch(pointer, frozen)
    assert not notes.switch(pointer, frozen)
    before = time.time()
    assert gallery.delete(["i0"]) == 1
    assert time.time() >= frozen.frozen_until > before - 1
    assert notes.pointer() == pointer
    assert rebuild(tmp_path / "g", other_bundle).items == 0


def test_a_writer_that_thaws_the_pointer_sends_the_rebuild_round_again(
    tmp_path: Path, bundle: Bundle, other_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first switch comes after the freeze has run out and an item was added: it must not succeed."""
    old = some(tmp_path / "g", bundle, 2, keep_originals=True)
    monkeypatch.setattr(module, "_FROZEN_SECONDS", 0.0)
    item = NewItem("late", picture(8))
    switched: list[bool] = []
    real = Notes.switch

    def late(notes: Notes, *pointers: object) -> bool:
        if len(switched) == 1:  # between freezing and switching
            switched.append(True)
            old.add([item], embed(bundle, [item]))
        done = real(notes, *pointers)  # type: ignore[arg-type]
        switched.append(done)
        return done

    monkeypatch.setattr(Notes, "switch", late)
    done = rebuild(tmp_path / "g", other_bundle)
    assert [found.id for found in done.gallery.page().items] == ["i0", "i1", "late"]
    assert False in switched


def test_items_without_a_picture_stop_it_unless_they_may_be_left_out(
    tmp_path: Path, bundle: Bundle, other_bundle: Bundle
) -> None:
    old = some(tmp_path / "g", bundle, 4)
    (tmp_path / "0.png").unlink()
    (tmp_path / "1.png").write_bytes(picture(99))
    bare = NewItem("bare", picture(5))
    old.add([bare], embed(bundle, [bare]))
    with pytest.raises(GalleryError, match=r"3 of its items .* nothing was switched"):
        rebuild(tmp_path / "g", other_bundle)
    assert Gallery.open(tmp_path / "g", bundle).count() == 5
    done = rebuild(tmp_path / "g", other_bundle, leave_out=True)
    assert [item.id for item in done.gallery.page().items] == ["i2", "i3"]
    assert done.lost.keys() == {"i0", "i1", "bare"}
    assert "No such file" in done.lost["i0"]
    assert "not the file that was added" in done.lost["i1"]
    assert "neither" in done.lost["bare"]


def test_addresses_are_not_fetched_but_may_be_read_by_the_caller(
    tmp_path: Path, bundle: Bundle, other_bundle: Bundle
) -> None:
    file = tmp_path / "a b.png"
    file.write_bytes(picture(1))
    assert read_local(file.as_uri()) == read_local(str(file)) == picture(1)
    with pytest.raises(OSError, match="only files"):
        read_local("https://example.org/a.png")
    item = NewItem("a", picture(1), source="https://example.org/a.png")
    Gallery.open(tmp_path / "g", bundle, create=True).add([item], embed(bundle, [item]))
    assert rebuild(tmp_path / "g", other_bundle, read=lambda source: picture(1)).items == 1
