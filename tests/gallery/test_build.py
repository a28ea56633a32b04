"""Filling a gallery from a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compressor.errors import DataError, MissingResourceError
from compressor.gallery import Gallery
from compressor.gallery.build import build, pictures_in
from compressor.runtime.bundle import Bundle
from tests.gallery.world import picture


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for n, name in enumerate(("b.png", "a.PNG", "sub/c.jpg", ".hidden/d.png", ".e.png")):
        (folder / name).write_bytes(picture(n, format="JPEG" if name.endswith("jpg") else "PNG"))
    (folder / "notes.txt").write_text("no picture")
    (folder / "bad.jpg").write_bytes(b"no picture")
    return folder


def test_every_picture_is_added_under_its_path_and_bad_ones_are_named(
    photos: Path, tmp_path: Path, bundle: Bundle
) -> None:
    gallery, told = Gallery.open(tmp_path / "g", bundle, create=True), []
    entries = pictures_in(photos)
    built = build(gallery, bundle, entries, 2, lambda *done: told.append(done))
    assert (built.added, built.there, list(built.bad)) == (3, 0, ["bad.jpg"])
    assert told[-1] == (4, 4, "1 bad")
    items = gallery.page().items
    assert [item.id for item in items] == ["a.PNG", "b.png", "sub/c.jpg"]
    assert items[1].source == str(photos / "b.png")
    vector = gallery.vector("b.png")
    assert vector is not None
    np.testing.assert_allclose(vector, bundle.encode_images([picture(0)])[0], atol=1e-6)


def test_it_goes_on_where_it_was_stopped_and_takes_files_that_changed(
    photos: Path, tmp_path: Path, bundle: Bundle
) -> None:
    gallery, entries = Gallery.open(tmp_path / "g", bundle, create=True), pictures_in(photos)

    def stop(done: int, total: int, detail: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(gallery, bundle, entries, 1, stop)
    before = gallery.count()
    assert 1 <= before <= 2
    built = build(gallery, bundle, entries, 1)
    assert (built.there, built.added) == (before, 3 - before)
    (photos / "b.png").write_bytes(picture(77))
    built = build(gallery, bundle, entries, 8)
    assert (built.there, built.added, gallery.count()) == (2, 1, 3)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no pictures"):
        pictures_in(tmp_path)
    with pytest.raises(MissingResourceError, match="no such folder"):
        pictures_in(tmp_path / "none")
