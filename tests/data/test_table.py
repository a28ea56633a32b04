"""CSV and TSV tables, as spreadsheets write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compressor.data import missing_data, open_pairs
from compressor.errors import DataError, MissingResourceError
from compressor.recipe.data import TableData
from tests.data.helpers import shade, write_images


def write(root: Path, text: str, name: str = "pairs.csv", **more: Any) -> TableData:
    write_images(root / "images", ["a.png", "b.png", "c.png"])
    (root / name).write_bytes(text.encode("utf-8"))
    return TableData(kind="table", path=str(root / name), **more)


def test_rows_with_one_image_are_its_captions(tmp_path: Path) -> None:
    text = "image,caption,split\nimages/a.png,one,train\nimages/b.png,two,train\nimages/a.png,three,train\n"
    pairs = open_pairs(write(tmp_path, text), "train")
    assert [(row.id, row.captions, row.caption_ids) for row in pairs.rows] == [
        ("images/a.png", ("one", "three"), ("images/a.png#0", "images/a.png#1")),
        ("images/b.png", ("two",), ("images/b.png#0",)),
    ]
    assert shade(pairs.image(1)) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pairs.csv", '\ufeffimage,caption,split\r\na.png,"one, with comma\nand newline",train\r\n'),
        ("pairs.csv", 'caption;split;image\n"one, with comma\nand newline";train;a.png\n'),
        ("pairs.tsv", 'split\timage\tcaption\n\ntrain\ta.png\t"one, with comma\nand newline"\n\n'),
        ("pairs.txt", 'split\timage\tcaption\ntrain\ta.png\t"one, with comma\nand newline"\n'),
        (
            "pairs.csv",
            '"image","split","caption; or, text"\n"a.png","train","one, with comma\nand newline"\n',
        ),
    ],
)
def test_delimiters_marks_and_newlines_of_spreadsheets(tmp_path: Path, name: str, text: str) -> None:
    column = "caption; or, text" if "or, text" in text else "caption"
    data = write(tmp_path, text, name, images=str(tmp_path / "images"), caption_column=column)
    pairs = open_pairs(data, "train")
    assert pairs.rows[0].captions == ("one, with comma\nand newline",)
    assert shade(pairs.image(0)) == 0


def test_other_columns_and_other_names_of_splits(tmp_path: Path) -> None:
    text = "id,path,text,fold\n1,a.png,one,validation\n2,b.png,two,restval\n3,c.png,three,test\n"
    data = write(
        tmp_path,
        text,
        images=str(tmp_path / "images"),
        image_column="path",
        caption_column="text",
        split_column="fold",
    )
    assert [open_pairs(data, split).rows[0].captions[0] for split in ("train", "val", "test")] == [
        "two",
        "one",
        "three",
    ]


def test_without_a_split_column_the_split_is_stable(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(300)]
    write_images(tmp_path / "images", names)
    lines = [f"{name},caption {name}" for name in names]

    def ids(some: list[str], split: str) -> set[str]:
        data = write(tmp_path, "image,caption\n" + "\n".join(some), images=str(tmp_path / "images"))
        return {row.id for row in open_pairs(data, split).rows}  # type: ignore[arg-type]

    splits = {split: ids(lines, split) for split in ("train", "val", "test")}
    assert splits["train"] | splits["val"] | splits["test"] == set(names)
    assert sum(map(len, splits.values())) == 300
    assert 240 <= len(splits["train"]) <= 290
    assert ids(lines[:200][::-1], "val") == splits["val"] & set(names[:200])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,text\na.png,x\n", r"pairs\.csv:1:.*'image', 'caption' are needed.*image, text"),
        ("", r"pairs\.csv:1:.*nothing"),
        ("image,caption\na.png,x\na.png\n", r"pairs\.csv:3: 1 fields.*2 columns"),
        ("image,caption\na.png,x, y\n", r"pairs\.csv:2: 3 fields"),
        ("image,caption\n ,x\n", r"pairs\.csv:2: the column 'image' is empty"),
        ('image,caption\na.png,"x\nb.png,y\n', r"pairs\.csv:\d: not a valid table"),
        ('image,caption\na.png,"x" y\n', r"pairs\.csv:2: not a valid table"),
        ("image,caption,image\na.png,x,b.png\n", "appears more than once"),
        ("image,caption,split\na.png,x,train\na.png,y,val\n", r"pairs\.csv:3.*'val' here and in 'train'"),
        ("image,caption,split\na.png,x,val\n", r"'train' has no images.*val \(1\)"),
        ("image,caption,split\na.png,,train\n", "no image of the split 'train' has a caption"),
        ("image,caption,split\n../a.png,x,train\n", "leads outside"),
        ("image,caption,split\n/etc/passwd,x,val\na.png,y,train\n", "leads outside"),
    ],
)
def test_wrong_tables_are_refused_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_pairs(write(tmp_path, text, images=str(tmp_path / "images")), "train")


def test_absolute_paths_inside_the_folder_are_fine(tmp_path: Path) -> None:
    text = f"image,caption,split\n{tmp_path}/images/b.png,x,train\n"
    pairs = open_pairs(write(tmp_path, text, images=str(tmp_path / "images")), "train")
    assert shade(pairs.image(0)) == 1


def test_a_table_in_another_encoding_is_refused_with_its_line(tmp_path: Path) -> None:
    data = write(tmp_path, "")
    (tmp_path / "pairs.csv").write_bytes("image,caption\na.png,fine\nb.png,caf\xe9\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"pairs\.csv:3: the table is not UTF-8"):
        open_pairs(data, "train")


def test_fractions_must_add_up(tmp_path: Path) -> None:
    data = write(tmp_path, "image,caption\nimages/a.png,x\n", split_fractions={"train": 0.5, "val": 0.1})
    with pytest.raises(DataError, match=r"add up to 1, not to 0\.6"):
        open_pairs(data, "train")


def test_a_named_split_column_must_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'fold'"):
        open_pairs(write(tmp_path, "image,caption\nimages/a.png,x\n", split_column="fold"), "train")


def test_missing_files_say_what_where_and_how(tmp_path: Path) -> None:
    data = TableData(kind="table", path=str(tmp_path / "none.csv"), images=str(tmp_path / "gone"))
    with pytest.raises(MissingResourceError, match=r"none\.csv.*data\.path.*gone.*data\.images"):
        open_pairs(data, "train")
    assert len(missing_data(data)) == 2
