"""Folders of images with captions beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.data import missing_data, open_pairs
from compressor.errors import DataError, MissingResourceError
from compressor.recipe.data import FolderData
from tests.data.helpers import shade, write_images


def section(root: Path, **more: float) -> FolderData:
    return FolderData(kind="folder", path=str(root), **more)


def test_sub_folders_are_splits_and_text_files_captions(tmp_path: Path) -> None:
    write_images(tmp_path, ["train/a.png", "train/deep/b.PNG", "val/c.png", "other/d.png", "e.png"])
    (tmp_path / "train" / "a.txt").write_bytes("\ufeffone \r\n\r\n  two\r\n".encode())
    pairs = open_pairs(section(tmp_path), "train")
    assert [(row.id, row.captions, row.caption_ids) for row in pairs.rows] == [
        ("train/a.png", ("one", "two"), ("train/a.png#0", "train/a.png#2")),
        ("train/deep/b.PNG", (), ()),
    ]
    assert [shade(pairs.image(0)), shade(pairs.image(1))] == [0, 1]
    with pytest.raises(DataError, match=r"'test' has no images.*train \(2\), val \(1\)"):
        open_pairs(section(tmp_path), "test")


def test_without_sub_folders_the_path_decides_once_and_for_all(tmp_path: Path) -> None:
    names = [f"{number:03d}.png" for number in range(120)]
    write_images(tmp_path / "all", names)
    write_images(tmp_path / "some", names[40:])

    def ids(folder: str, split: str) -> set[str]:
        return {row.id for row in open_pairs(section(tmp_path / folder), split).rows}  # type: ignore[arg-type]

    whole = {split: ids("all", split) for split in ("train", "val", "test")}
    assert set().union(*whole.values()) == set(names)
    assert sum(map(len, whole.values())) == 120
    assert ids("some", "train") == whole["train"] & set(names[40:])


def test_other_and_hidden_files_are_left_alone(tmp_path: Path) -> None:
    write_images(tmp_path / "train", ["a.png", "._a.png", ".hidden/b.png"])
    (tmp_path / "train" / "notes.md").write_text("no image")
    (tmp_path / "train" / "lonely.txt").write_text("no image beside")
    assert [row.id for row in open_pairs(section(tmp_path), "train").rows] == ["train/a.png"]


def test_unreadable_captions_are_skipped_up_to_the_limit(tmp_path: Path) -> None:
    write_images(tmp_path / "train", [f"{number}.png" for number in range(4)])
    (tmp_path / "train" / "2.txt").write_bytes(b"\xff\xfe\x00")
    rows = open_pairs(section(tmp_path, max_bad_fraction=0.25), "train").rows
    assert [row.id for row in rows] == ["train/0.png", "train/1.png", "train/3.png"]
    with pytest.raises(DataError, match=r"1 of 4 samples.*train/2\.png.*not UTF-8"):
        open_pairs(section(tmp_path, max_bad_fraction=0.24), "train")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images; splits with images: none"):
        open_pairs(section(tmp_path), "train")


def test_a_missing_folder_says_what_where_and_how(tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match=r"gone; set data\.path"):
        open_pairs(section(tmp_path / "gone"), "train")
    assert len(missing_data(section(tmp_path / "gone"))) == 1
