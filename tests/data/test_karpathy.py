"""Karpathy's JSON: splits, ids, captions, and every way in which the file can be wrong."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from compressor.data import RawPairSet, missing_data, open_pairs
from compressor.errors import BadImageError, DataError, MissingResourceError
from compressor.recipe.data import KarpathyData
from tests.data.helpers import shade, write_images, write_json


def entry(name: str, split: str, captions: list[str], **more: Any) -> dict[str, Any]:
    return {"filename": name, "split": split, "sentences": [{"raw": text} for text in captions], **more}


def section(root: Path, **more: Any) -> KarpathyData:
    return KarpathyData(kind="karpathy", root=str(root), **more)


def write(root: Path, entries: list[Any], names: list[str] | None = None) -> KarpathyData:
    write_json(root / "dataset.json", {"dataset": "test", "images": entries})
    if names is None:
        names = [entry["filename"] for entry in entries]
    write_images(root / "images", names)
    return section(root)


def test_train_is_train_and_restval_together(tmp_path: Path) -> None:
    data = write(
        tmp_path,
        [
            entry("a.png", "train", ["one"]),
            entry("b.png", "restval", ["two"]),
            entry("c.png", "val", ["three"]),
        ],
    )
    train, val = open_pairs(data, "train"), open_pairs(data, "val")
    assert [row.id for row in train.rows] == ["a.png", "b.png"]
    assert [row.id for row in val.rows] == ["c.png"]
    assert [shade(train.image(0)), shade(train.image(1)), shade(val.image(0))] == [0, 1, 2]


def test_sentids_are_the_caption_ids(tmp_path: Path) -> None:
    inside = {
        "filename": "a.png",
        "split": "train",
        "sentences": [{"raw": "x", "sentid": 7}, {"raw": "y", "sentid": 9}],
    }
    beside = entry("b.png", "train", ["x", "y"], sentids=[11, 12])
    without = entry("c.png", "train", ["x", "y"])
    rows = open_pairs(write(tmp_path, [inside, beside, without]), "train").rows
    assert [row.caption_ids for row in rows] == [("7", "9"), ("11", "12"), ("c.png#0", "c.png#1")]
    assert rows[0].captions == ("x", "y")


def test_filepath_is_part_of_the_id_as_in_coco(tmp_path: Path) -> None:
    entries = [
        entry("1.png", "train", ["x"], filepath="train2014"),
        entry("1.png", "val", ["y"], filepath="val2014"),
    ]
    data = write(tmp_path, entries, ["train2014/1.png", "val2014/1.png"])
    val = open_pairs(data, "val")
    assert val.rows[0].id == "val2014/1.png"
    assert shade(val.image(0)) == 1


def test_empty_captions_are_dropped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = write(tmp_path, [entry("a.png", "train", ["  first \n", "", " \t", "last"])])
    with caplog.at_level(logging.WARNING):
        row = open_pairs(data, "train").rows[0]
    assert row.captions == ("first", "last")
    assert row.caption_ids == ("a.png#0", "a.png#3")
    assert "2 empty captions" in caplog.text
    assert "a.png#1" in caplog.text


def test_captions_may_be_long_or_in_any_script(tmp_path: Path) -> None:
    captions = ["word " * 10_000, "😀 一只猫", "tail \ud83d"]
    row = open_pairs(write(tmp_path, [entry("a.png", "train", captions)]), "train").rows[0]
    assert row.captions[1] == "😀 一只猫"
    assert len(row.captions[0].split()) == 10_000
    assert row.captions[2].encode("utf-8")


def test_tokens_stand_in_for_a_missing_raw_caption(tmp_path: Path) -> None:
    row = {"filename": "a.png", "split": "train", "sentences": [{"tokens": ["a", "dog"]}]}
    assert open_pairs(write(tmp_path, [row]), "train").rows[0].captions == ("a dog",)


def test_an_image_without_captions_is_a_row(tmp_path: Path) -> None:
    rows = open_pairs(
        write(tmp_path, [entry("a.png", "train", []), entry("b.png", "train", ["x"])]), "train"
    ).rows
    assert rows[0].captions == ()


def test_a_missing_file_says_what_where_and_how(tmp_path: Path) -> None:
    data = section(tmp_path)
    with pytest.raises(MissingResourceError) as caught:
        open_pairs(data, "train")
    text = str(caught.value)
    assert str(tmp_path / "dataset.json") in text
    assert str(tmp_path / "images") in text
    assert "dataset_flickr30k.json" in text
    assert "caption_datasets" in text
    assert len(missing_data(data)) == 2
    write(tmp_path, [entry("a.png", "train", ["x"])])
    assert missing_data(data) == []


def test_images_in_another_folder_are_noticed_at_once(tmp_path: Path) -> None:
    data = write(tmp_path, [entry("a.png", "train", ["x"])], names=["other/a.png"])
    with pytest.raises(MissingResourceError, match=r"images are missing.*a\.png"):
        open_pairs(data, "train")


def test_annotations_and_images_may_lie_anywhere_absolute(tmp_path: Path) -> None:
    write(tmp_path / "here", [entry("a.png", "test", ["x"])])
    data = section(
        tmp_path,
        annotations=str(tmp_path / "here" / "dataset.json"),
        images=str(tmp_path / "here" / "images"),
    )
    assert open_pairs(data, "test").rows[0].id == "a.png"


@pytest.mark.parametrize("content", [b"not json", b"", b"\xff\xfe{}", b'{"images": [}'])
def test_what_is_not_json_is_refused_with_its_line(tmp_path: Path, content: bytes) -> None:
    data = write(tmp_path, [entry("a.png", "train", ["x"])])
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(DataError, match=r"dataset\.json.*not valid JSON"):
        open_pairs(data, "train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "must be an object, found a list"),
        ({}, "`images` must be a list, found nothing"),
        ({"images": {}}, "`images` must be a list, found an object"),
        ({"images": [1]}, r"images\[0\]: the entry must be an object"),
        ({"images": [{"split": "train", "sentences": []}]}, r"images\[0\]: `filename` must be a string"),
        ({"images": [{"filename": "a.png", "sentences": []}]}, r"images\[0\]: `split`"),
        ({"images": [{"filename": "a.png", "split": "train"}]}, r"images\[0\]: `sentences` \(the captions\)"),
        (
            {"images": [entry("a.png", "train", ["x"]), entry("b.png", "train", [3])]},
            r"images\[1\]\.sentences\[0\]",
        ),  # type: ignore[list-item]
        ({"images": [entry("a.png", "train", ["x"], filepath=3)]}, "`filepath` must be a string"),
        (
            {"images": [{"filename": "a.png", "split": "train", "sentences": ["x"]}]},
            "caption must be an object",
        ),
        ({"images": [entry("a.png", "train", [])]}, "no image has a caption"),
    ],
)
def test_wrong_content_is_refused_with_its_position(tmp_path: Path, content: Any, message: str) -> None:
    data = write(tmp_path, [entry("a.png", "train", ["x"])])
    write_json(tmp_path / "dataset.json", content)
    with pytest.raises(DataError, match=message):
        open_pairs(data, "train")


def test_duplicate_images_are_refused_across_splits(tmp_path: Path) -> None:
    data = write(tmp_path, [entry("a.png", "train", ["x"]), entry("a.png", "val", ["y"])])
    with pytest.raises(DataError, match=r"'a\.png' appears more than once"):
        open_pairs(data, "val")


def test_duplicate_sentids_are_refused(tmp_path: Path) -> None:
    data = write(
        tmp_path, [entry("a.png", "train", ["x"], sentids=[1]), entry("b.png", "val", ["y"], sentids=[1])]
    )
    with pytest.raises(DataError, match="caption id '1' appears more than once"):
        open_pairs(data, "train")


def test_a_split_without_rows_names_those_that_exist(tmp_path: Path) -> None:
    data = write(tmp_path, [entry("a.png", "train", ["x"]), entry("b.png", "val", ["y"])])
    with pytest.raises(DataError, match=r"'test' has no images.*train \(1\), val \(1\)"):
        open_pairs(data, "test")


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/passwd", "a/../../b.png", "", "nul\0.png", "\ud800.png"]
)
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    data = write(tmp_path, [entry("a.png", "train", ["x"]), entry(name, "val", ["y"])], names=["a.png"])
    with pytest.raises(DataError, match=r"images\[1\]"):
        open_pairs(data, "train")


def test_a_missing_or_broken_image_is_a_bad_image(tmp_path: Path) -> None:
    names = ["a.png", "gone.png", "folder.png", "text.png", "empty.png"]
    data = write(tmp_path, [entry(name, "train", ["x"]) for name in names], names=["a.png"])
    (tmp_path / "images" / "folder.png").mkdir()
    (tmp_path / "images" / "text.png").write_text("not an image")
    (tmp_path / "images" / "empty.png").touch()
    pairs = open_pairs(data, "train")
    assert isinstance(pairs, RawPairSet)
    for index, reason in ((1, "no such file"), (2, "folder"), (3, "supported format"), (4, "0 bytes")):
        with pytest.raises(BadImageError, match=reason):
            pairs.image(index)
    assert pairs.image_bytes(0) == (tmp_path / "images" / "a.png").read_bytes()


def test_the_fingerprint_follows_annotations_and_place(tmp_path: Path) -> None:
    def fingerprint(root: Path, caption: str, split: str = "train") -> str:
        return open_pairs(
            write(root, [entry("a.png", "train", [caption]), entry("b.png", "val", ["y"])]), split
        ).fingerprint  # type: ignore[arg-type]

    first = fingerprint(tmp_path / "one", "x")
    assert first == fingerprint(tmp_path / "one", "x")
    others = [
        fingerprint(tmp_path / "one", "z"),
        fingerprint(tmp_path / "two", "x"),
        fingerprint(tmp_path / "one", "x", "val"),
    ]
    assert len({first, *others}) == 4
