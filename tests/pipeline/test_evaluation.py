"""The data section that `compressor evaluate` makes of its options, for every kind of source."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, get_args

import pytest
from rich.console import Console

from compressor.errors import BundleError, RecipeError
from compressor.pipeline import evaluation
from compressor.pipeline.evaluation import data_section, evaluate_bundle, print_quality
from compressor.pipeline.progress import QuietReporter
from compressor.recipe.data import (
    CocoCaptionsData,
    FolderData,
    HuggingFaceData,
    KarpathyData,
    PairsData,
    ScenesData,
    TableData,
    WebDatasetData,
)

KINDS = {member.model_fields["kind"].annotation.__args__[0] for member in get_args(get_args(PairsData)[0])}


def section(kind: str, annotations: str = "", images: str = "", split: str = "test", *options: str) -> Any:
    return data_section(
        kind,
        Path(annotations) if annotations else None,
        Path(images) if images else None,
        split,
        list(options),
    )


def test_karpathy_paths_start_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = section("karpathy", "here/dataset.json", "pictures")
    assert isinstance(made, KarpathyData)
    assert made.root / made.annotations == tmp_path / "here" / "dataset.json"
    assert made.root / made.images == tmp_path / "pictures"


def test_karpathy_without_annotations_looks_for_the_usual_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = section("karpathy")
    assert (made.root, made.annotations, made.images) == (tmp_path, "dataset.json", "images")


def test_coco_captions_has_its_files_by_split(tmp_path: Path) -> None:
    made = section("coco_captions", str(tmp_path / "val.json"), str(tmp_path / "val2017"), "val")
    assert isinstance(made, CocoCaptionsData)
    assert made.annotations == {"val": str(tmp_path / "val.json")}
    assert made.images == {"val": str(tmp_path / "val2017")}


def test_table_takes_its_file_as_annotations(tmp_path: Path) -> None:
    made = section("table", str(tmp_path / "pairs.csv"), str(tmp_path), "test", "caption_column=text")
    assert isinstance(made, TableData)
    assert (made.path, made.images, made.caption_column) == (tmp_path / "pairs.csv", tmp_path, "text")
    assert section("table", str(tmp_path / "pairs.csv")).images is None


def test_folder_takes_its_folder_as_images(tmp_path: Path) -> None:
    made = section("folder", "", str(tmp_path))
    assert isinstance(made, FolderData)
    assert made.path == tmp_path


def test_scenes_need_nothing_and_take_settings() -> None:
    made = section("scenes", "", "", "test", "seed=3", "image_size=48", "limit.test=4")
    assert isinstance(made, ScenesData)
    assert (made.seed, made.image_size, made.limit.test) == (3, 48, 4)


def test_huggingface_and_webdataset_are_described_by_settings(tmp_path: Path) -> None:
    hub = section("huggingface", "", "", "test", f"path={tmp_path}", "caption_column=text")
    assert isinstance(hub, HuggingFaceData)
    assert hub.path == tmp_path
    shards = section("webdataset", "", "", "test", f"root={tmp_path}", "shards={test: '*.tar'}")
    assert isinstance(shards, WebDatasetData)
    assert shards.shards == {"test": "*.tar"}


def test_every_kind_of_source_is_tried_here() -> None:
    tried = {"karpathy", "coco_captions", "table", "folder", "scenes", "huggingface", "webdataset"}
    assert tried == KINDS


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (("photos",), "photos"),
        (("table",), "path"),
        (("folder",), "path"),
        (("scenes", "", "", "test", "sed=3"), "sed"),
        (("scenes", "", "", "test", "seed"), "is no setting"),
        (("scenes", "", "", "test", "seed: 3"), "is no setting"),
        (("scenes", "", "", "test", "image_size=wide"), "image_size"),
        (("scenes", "", "", "test", "seed=[1"), "data.seed: not valid YAML"),
        (("scenes", "annotations.json"), "annotations"),
        (("folder", "captions.json", "photos"), "annotations"),
        (("huggingface", "", "", "test", "name=x", "path=y"), "name"),
        (("huggingface",), "name"),
        (("table", "t.csv", "", "test", "split_fractions={train: 1, val: 1, test: 1}"), "split_fractions"),
    ],
)
def test_what_describes_no_data_is_refused_in_one_sentence(call: tuple[str, ...], words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        section(*call)
    message = str(caught.value)
    assert message.startswith("command line: ")
    assert words in message
    assert "\n" not in message
    assert "pydantic" not in message


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--split dev: the splits are train, val and test"):
        evaluate(tmp_path, split="dev")


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        evaluate(tmp_path)


def evaluate(bundle: Path, split: str = "test") -> dict[str, Any]:
    return evaluate_bundle(
        bundle,
        kind="scenes",
        annotations=None,
        images=None,
        split=split,
        options=[],
        precision=None,
        threads=1,
        reporter=QuietReporter(),
    )


def test_the_figures_are_shown_as_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    direction = {"r1": 10.0, "r5": 20.0, "r10": 30.0, "median_rank": 4.0, "mean_rank": 5.5, "map_r": 12.5}
    figures = {
        "bundle": "vit [tiny]",
        "precision": "int8",
        "split": "test",
        "bad_images": 1,
        "quality": {
            "i2t": direction,
            "t2i": direction | {"r1": 11.0},
            "rsum": 121.0,
            "rsum_interval": {"low": 100.0, "high": 140.0},
            "images": 16,
            "captions": 80,
        },
    }
    console = Console(file=io.StringIO(), width=120)
    monkeypatch.setattr(evaluation, "Console", lambda: console)
    print_quality(figures)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "vit [tiny] (int8), test split" in text
    assert "11.0" in text
    assert "RSUM 121.0 (95 % interval 100.0 to 140.0), 16 images, 80 captions, 1 unusable" in text
