"""Karpathy's JSON of Flickr8k, Flickr30k and COCO."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
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
from compressor.recipe.data import KarpathyData, Split

_LOGGER = logging.getLogger(__name__)
_ANNOTATIONS_HELP = (
    "Karpathy's dataset_flickr8k.json, dataset_flickr30k.json and dataset_coco.json are in the archive "
    "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
)
_IMAGES_HELP = (
    "get the photos from their owners (Flickr30k: https://shannon.cs.illinois.edu/DenotationGraph, "
    "COCO: https://cocodataset.org) and set data.root or data.images"
)


def open_karpathy(section: KarpathyData, split: Split) -> FilePairs:
    """One split of a Karpathy file; `train` is `train` and `restval` together.

    Row ids are `filename`, or `filepath/filename` where both are there (COCO); caption ids are `sentid`.

    Raises:
        MissingResourceError: the annotations or the images are not there.
        DataError: the file is malformed (file and position), ids repeat, or the split has no images.
    """
    path, root = _annotations(section), section.root / section.images
    absent = missing(section)
    if absent:
        raise MissingResourceError(" ".join(absent))
    content = read_annotations(path)
    entries = typed(content, dict, str(path), "the content").get("images")
    entries = typed(entries, list, str(path), "`images`")
    counts: Counter[str] = Counter()
    rows: list[Row] = []
    paths: list[Path] = []
    image_ids: list[str] = []
    caption_ids: list[str] = []
    empty: list[str] = []
    for position, entry in enumerate(entries):
        where = f"{path}: images[{position}]"
        row_split, row = _row(entry, where, empty)
        counts[row_split] += 1
        image_ids.append(row.id)
        caption_ids.extend(row.caption_ids)
        image = path_inside(root, row.id, where)
        if row_split == split:
            rows.append(row)
            paths.append(image)
    refuse_duplicates(image_ids, "the image", str(path))
    refuse_duplicates(caption_ids, "the caption id", str(path))
    if not caption_ids and entries:
        raise DataError(f"{path}: no image has a caption")
    refuse_empty_split(split, counts, str(path))
    log_empty_captions(_LOGGER, str(path), empty)
    refuse_absent_images(paths, str(path), _IMAGES_HELP)
    return FilePairs(split, rows, paths, source=f"karpathy {root}")


def missing(section: KarpathyData) -> list[str]:
    """What is not there: the annotation file, the folder of images."""
    found = []
    path, images = _annotations(section), section.root / section.images
    if not path.exists():
        found.append(f"The annotations are missing: looked for {path}; {_ANNOTATIONS_HELP}.")
    if not images.is_dir():
        found.append(f"The images are missing: looked for the folder {images}; {_IMAGES_HELP}.")
    return found


def _annotations(section: KarpathyData) -> Path:
    return section.root / section.annotations


def _row(entry: Any, where: str, empty: list[str]) -> tuple[str, Row]:
    entry = typed(entry, dict, where, "the entry")
    name = typed(entry.get("filename"), str, where, "`filename`")
    folder = entry.get("filepath")
    row_id = f"{typed(folder, str, where, '`filepath`')}/{name}" if folder else name
    named = typed(entry.get("split"), str, where, "`split`")
    captions = list(_captions(entry, row_id, where))
    texts, caption_ids = tidy_captions(captions, empty)
    return "train" if named == "restval" else named, Row(row_id, texts, caption_ids)


def _captions(entry: dict[str, Any], row_id: str, where: str) -> Iterator[tuple[str, str]]:
    sentences = typed(entry.get("sentences"), list, where, "`sentences` (the captions)")
    listed = entry.get("sentids")
    ids = listed if isinstance(listed, list) and len(listed) == len(sentences) else [None] * len(sentences)
    for number, (sentence, listed_id) in enumerate(zip(sentences, ids, strict=True)):
        place = f"{where}.sentences[{number}]"
        sentence = typed(sentence, dict, place, "the caption")
        text = sentence.get("raw")
        if text is None and isinstance(sentence.get("tokens"), list):
            text = " ".join(str(token) for token in sentence["tokens"])
        caption_id = sentence.get("sentid", listed_id)
        if caption_id is None:
            caption_id = f"{row_id}#{number}"
        yield str(typed(caption_id, (int, str), place, "`sentid`")), typed(text, str, place, "`raw`")
