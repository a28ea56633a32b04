"""COCO's captions files, one per split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compressor.data import missing_data, open_pairs
from compressor.errors import DataError, MissingResourceError
from compressor.recipe.data import CocoCaptionsData
from tests.data.helpers import shade, write_images, write_json

IMAGES = [{"id": 30, "file_name": "a.png"}, {"id": 10, "file_name": "b.png"}]
ANNOTATIONS = [
    {"id": 1, "image_id": 10, "caption": "second image"},
    {"id": 2, "image_id": 30, "caption": " first image "},
    {"id": 3, "image_id": 30, "caption": "  "},
    {"id": 4, "image_id": 30, "caption": "first again"},
]


def write(root: Path, images: Any = IMAGES, annotations: Any = ANNOTATIONS) -> CocoCaptionsData:
    write_json(root / "train.json", {"images": images, "annotations": annotations})
    write_images(root / "train", ["a.png", "b.png"])
    return CocoCaptionsData(
        kind="coco_captions", root=str(root), annotations={"train": "train.json"}, images={"train": "train"}
    )


def test_captions_are_gathered_per_image_in_the_files_order(tmp_path: Path) -> None:
    pairs = open_pairs(write(tmp_path), "train")
    assert [(row.id, row.captions, row.caption_ids) for row in pairs.rows] == [
        ("a.png", ("first image", "first again"), ("2", "4")),
        ("b.png", ("second image",), ("1",)),
    ]
    assert shade(pairs.image(1)) == 1


def test_a_split_the_recipe_does_not_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no split 'val', only: train"):
        open_pairs(write(tmp_path), "val")


def test_missing_files_say_what_where_and_how(tmp_path: Path) -> None:
    data = CocoCaptionsData(
        kind="coco_captions",
        root=str(tmp_path),
        annotations={"train": "t.json"},
        images={"train": "train2017"},
    )
    with pytest.raises(MissingResourceError, match=r"t\.json.*cocodataset\.org.*train2017"):
        open_pairs(data, "train")
    assert len(missing_data(data)) == 2


@pytest.mark.parametrize(
    ("images", "annotations", "message"),
    [
        (None, ANNOTATIONS, "`images` must be a list"),
        (IMAGES, None, r"`annotations` \(the captions\) must be a list"),
        (IMAGES, [], "no image has a caption"),
        ([*IMAGES, {"id": 30, "file_name": "c.png"}], [], r"images\[2\].*30 appears more than once"),
        ([*IMAGES, {"id": 31, "file_name": "a.png"}], ANNOTATIONS, r"'a\.png' appears more than once"),
        (IMAGES, [*ANNOTATIONS, {"id": 4, "image_id": 10, "caption": "x"}], "'4' appears more than once"),
        (IMAGES, [{"id": 1, "image_id": 99, "caption": "x"}], r"annotations\[0\].*no image with the id 99"),
        (IMAGES, [{"id": 1, "image_id": 10}], r"annotations\[0\]: `caption`"),
        (IMAGES, [{"id": True, "image_id": 10, "caption": "x"}], r"annotations\[0\]: `id`.*a boolean"),
        ([{"id": 10, "file_name": "../a.png"}], [{"id": 1, "image_id": 10, "caption": "x"}], "leads outside"),
    ],
)
def test_wrong_content_is_refused(tmp_path: Path, images: Any, annotations: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_pairs(write(tmp_path, images, annotations), "train")
