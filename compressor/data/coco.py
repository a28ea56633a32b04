"""COCO's own captions JSON: one annotation file and one folder of images per split."""

from __future__ import annotations

import logging
from collections import defaultdict
from pathlib import Path
from typing import Any

from compressor.data.files import (
    FilePairs,
    log_empty_captions,
    path_inside,
    read_annotations,
    refuse_absent_images,
    refuse_duplicates,
    refuse_empty_split,
    tidy_captions,
    typed,
)
from compressor.data.pairs import Row
from compressor.errors import DataError, MissingResourceError
from compressor.recipe.data import CocoCaptionsData, Split

_LOGGER = logging.getLogger(__name__)
_HELP = "images and captions_*.json are at https://cocodataset.org under Download"


def open_coco(section: CocoCaptionsData, split: Split) -> FilePairs:
    """One split. Row ids are `file_name`, caption ids the annotations' `id`; images keep the file's order.

    Raises:
        MissingResourceError: the annotations or the images are not there.
        DataError: the recipe names no files for the split, the file is malformed (file and position), or ids
            repeat.
    """
    if split not in _named(section):
        there = ", ".join(_named(section)) or "none"
        raise DataError(f"data.annotations and data.images name no split {split!r}, only: {there}")
    absent = _missing_of(section, split)
    if absent:
        raise MissingResourceError(" ".join(absent))
    path, root = section.root / section.annotations[split], section.root / section.images[split]
    content = typed(read_annotations(path), dict, str(path), "the content")
    images = _images(content, path)
    captions = _captions(content, path, set(images))
    empty: list[str] = []
    rows = [Row(name, *tidy_captions(captions.get(number, ()), empty)) for number, name in images.items()]
    refuse_duplicates((row.id for row in rows), "the image", str(path))
    refuse_duplicates((caption for row in rows for caption in row.caption_ids), "the caption id", str(path))
    refuse_empty_split(split, {split: len(rows)}, str(path))
    if not any(row.captions for row in rows):
        raise DataError(f"{path}: no image has a caption")
    log_empty_captions(_LOGGER, str(path), empty)
    paths = [path_inside(root, row.id, str(path)) for row in rows]
    refuse_absent_images(paths, str(path), _HELP)
    return FilePairs(split, rows, paths, source=f"coco_captions {root}")


def missing(section: CocoCaptionsData) -> list[str]:
    """What is not there, over all splits that the recipe names."""
    return [sentence for split in _named(section) for sentence in _missing_of(section, split)]


def _named(section: CocoCaptionsData) -> list[Split]:
    return [split for split in section.annotations if split in section.images]


def _missing_of(section: CocoCaptionsData, split: Split) -> list[str]:
    found = []
    path, images = section.root / section.annotations[split], section.root / section.images[split]
    if not path.exists():
        found.append(f"The captions of the split {split} are missing: looked for {path}; {_HELP}.")
    if not images.is_dir():
        found.append(f"The images of the split {split} are missing: looked for the folder {images}; {_HELP}.")
    return found


def _images(content: dict[str, Any], path: Path) -> dict[int | str, str]:
    """File names by COCO's image id."""
    names: dict[int | str, str] = {}
    for position, entry in enumerate(typed(content.get("images"), list, str(path), "`images`")):
        where = f"{path}: images[{position}]"
        entry = typed(entry, dict, where, "the entry")
        number = typed(entry.get("id"), (int, str), where, "`id`")
        if number in names:
            raise DataError(f"{where}: the image id {number!r} appears more than once")
        names[number] = typed(entry.get("file_name"), str, where, "`file_name`")
    return names


def _captions(
    content: dict[str, Any], path: Path, images: set[int | str]
) -> dict[int | str, list[tuple[str, str]]]:
    """(caption id, caption) pairs by COCO's image id."""
    captions: dict[int | str, list[tuple[str, str]]] = defaultdict(list)
    listed = typed(content.get("annotations"), list, str(path), "`annotations` (the captions)")
    for position, entry in enumerate(listed):
        where = f"{path}: annotations[{position}]"
        entry = typed(entry, dict, where, "the entry")
        number = typed(entry.get("image_id"), (int, str), where, "`image_id`")
        if number not in images:
            raise DataError(f"{where}: there is no image with the id {number!r}")
        caption_id = str(typed(entry.get("id"), (int, str), where, "`id`"))
        captions[number].append((caption_id, typed(entry.get("caption"), str, where, "`caption`")))
    return captions
