"""Hugging Face data sets from local folders: saved ones, parquet files, image folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from compressor.data import RawPairSet, huggingface, missing_data, open_pairs
from compressor.errors import BadImageError, DataError, MissingDependencyError, MissingResourceError
from compressor.recipe.data import HuggingFaceData
from tests.data.helpers import image_bytes, shade, write_images


@pytest.fixture(autouse=True)
def _offline_and_clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def table(captions: list[Any], **columns: list[Any]) -> datasets.Dataset:
    stored = [{"bytes": image_bytes(number), "path": f"{number}.png"} for number in range(len(captions))]
    content = datasets.Dataset.from_dict({"image": stored, "caption": captions, **columns})
    return content.cast_column("image", datasets.Image())


def section(path: Path, **more: Any) -> HuggingFaceData:
    return HuggingFaceData(kind="huggingface", path=str(path), **more)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    splits = {"train": table(["one", " two "], key=[7, 8]), "validation": table([["a", "", "b"]], key=[9])}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "saved"))
    return tmp_path / "saved"


def test_a_saved_data_set(saved: Path) -> None:
    train, val = open_pairs(section(saved), "train"), open_pairs(section(saved), "val")
    assert [(row.id, row.captions, row.caption_ids) for row in train.rows] == [
        ("train/0", ("one",), ("train/0#0",)),
        ("train/1", ("two",), ("train/1#0",)),
    ]
    assert val.rows[0].captions == ("a", "b")
    assert val.rows[0].caption_ids == ("validation/0#0", "validation/0#2")
    assert shade(train.image(1)) == 1
    assert isinstance(train, RawPairSet)
    assert train.image_bytes(1) == image_bytes(1)


def test_ids_may_come_from_a_column(saved: Path) -> None:
    assert [row.id for row in open_pairs(section(saved, id_column="key"), "train").rows] == ["7", "8"]


def test_parquet_files_and_slices(tmp_path: Path) -> None:
    table(["one", "two", "three", "four"]).to_parquet(str(tmp_path / "data" / "train-00000.parquet"))
    data = section(tmp_path / "data", splits={"train": "train[:75%]", "val": "train[75%:]"})
    assert [row.captions[0] for row in open_pairs(data, "train").rows] == ["one", "two", "three"]
    val = open_pairs(data, "val")
    assert val.rows[0].captions == ("four",)
    assert shade(val.image(0)) == 3


def test_an_image_folder_with_metadata(tmp_path: Path) -> None:
    write_images(tmp_path / "data" / "train", ["a.png", "b.png"])
    lines = [json.dumps({"file_name": name, "caption": f"of {name}"}) for name in ("a.png", "b.png")]
    (tmp_path / "data" / "train" / "metadata.jsonl").write_text("\n".join(lines))
    pairs = open_pairs(section(tmp_path / "data"), "train")
    assert {row.captions[0]: shade(pairs.image(number)) for number, row in enumerate(pairs.rows)} == {
        "of a.png": 0,
        "of b.png": 1,
    }


def test_a_row_without_image_is_bad_and_one_without_caption_is_not(tmp_path: Path) -> None:
    content = datasets.Dataset.from_dict(
        {"image": [None, {"bytes": b"no image", "path": None}], "caption": ["x", None]}
    )
    content = content.cast_column("image", datasets.Image(decode=False))
    datasets.DatasetDict({"train": content}).save_to_disk(str(tmp_path / "saved"))
    pairs = open_pairs(section(tmp_path / "saved"), "train")
    assert pairs.rows[1].captions == ()
    with pytest.raises(BadImageError, match="no image"):
        pairs.image(0)
    with pytest.raises(BadImageError, match="supported format"):
        pairs.image(1)


@pytest.mark.parametrize(
    ("more", "split", "message"),
    [
        ({"image_column": "photo"}, "train", "no column 'photo', only: image, caption, key"),
        ({"caption_column": "text"}, "train", "no column 'text'"),
        ({"id_column": "id"}, "train", "no column 'id'"),
        ({"image_column": "key"}, "train", "'key' holds no images"),
        ({"caption_column": "key"}, "train", "a caption must be a string or a list of strings"),
        ({}, "test", "no split 'test', only: train, validation"),
        ({"splits": {"train": "train"}}, "val", "names no split for 'val', only: train"),
        ({"name": "also/this"}, "train", "exactly one of name"),
    ],
)
def test_what_does_not_fit_is_refused(saved: Path, more: dict[str, Any], split: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_pairs(section(saved, **more), split)


def test_repeated_ids_are_refused(tmp_path: Path) -> None:
    datasets.DatasetDict({"train": table(["x", "y"], key=["k", "k"])}).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(DataError, match="'k' appears more than once"):
        open_pairs(section(tmp_path / "saved", id_column="key"), "train")


def test_a_missing_folder_or_hub_name_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match=r"gone; put one there.*save_to_disk"):
        open_pairs(section(tmp_path / "gone"), "train")
    assert len(missing_data(section(tmp_path / "gone"))) == 1
    hub = HuggingFaceData(kind="huggingface", name="nobody/nothing")
    with pytest.raises(MissingResourceError, match=r"nobody/nothing.*set data\.path"):
        open_pairs(hub, "train")


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="cannot be opened"):
        open_pairs(section(tmp_path / "data"), "train")


def test_without_the_library_the_extra_is_named(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pip install"):
        open_pairs(section(saved), "train")
    assert "pip install" in missing_data(section(saved))[0]
