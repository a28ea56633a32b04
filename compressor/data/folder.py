"""A folder of images with captions beside them: `photo.jpg` and `photo.txt`, one caption a line."""

from __future__ import annotations

import logging
import os
from collections import Counter
from pathlib import Path

from compressor.data.bad import BadSamples
from compressor.data.files import FilePairs, log_empty_captions, refuse_empty_split, tidy_captions
from compressor.data.pairs import Row
from compressor.data.subset import split_by_hash
from compressor.errors import DataError, MissingResourceError
from compressor.recipe.data import FolderData, Split

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"}
)

_LOGGER = logging.getLogger(__name__)
_SPLITS: tuple[Split, ...] = ("train", "val", "test")


def open_folder(section: FolderData, split: Split) -> FilePairs:
    """One split of a folder tree. Row ids are paths relative to `data.path`, caption ids `<path>#<line>`.

    Sub-folders `train`, `val`, `test` are the splits where one of them exists; otherwise the relative path
    decides (`split_by_hash`). Images without a caption file are rows without captions; hidden files are left
    out.

    Raises:
        MissingResourceError: there is no such folder.
        DataError: the split has no images, or too many caption files are not UTF-8 text.
    """
    absent = missing(section)
    if absent:
        raise MissingResourceError(" ".join(absent))
    root = section.path
    has_splits = any((root / name).is_dir() for name in _SPLITS)
    names = image_names(root)
    if has_splits:
        splits = {name: name.split("/", 1)[0] for name in names}
        splits = {name: found for name, found in splits.items() if found in _SPLITS and "/" in name}
        hint = ""
    else:
        splits = {name: split_by_hash(name, section.split_fractions) for name in names}
        hint = "; there are no sub-folders train, val, test, so data.split_fractions decide"
    refuse_empty_split(split, Counter(splits.values()), str(root), hint)
    chosen = [name for name in names if splits.get(name) == split]
    bad = BadSamples(len(chosen), section.max_bad_fraction, _LOGGER)
    empty: list[str] = []
    rows: list[Row] = []
    for name in chosen:
        try:
            rows.append(Row(name, *tidy_captions(_captions(root, name), empty)))
        except DataError as error:
            bad.add(name, str(error))
    log_empty_captions(_LOGGER, str(root), empty)
    return FilePairs(split, rows, [root / row.id for row in rows], source=f"folder {root}")


def missing(section: FolderData) -> list[str]:
    """What is not there: the folder."""
    if section.path.is_dir():
        return []
    return [
        f"The folder of images is missing: looked for {section.path}; set data.path to a folder with images "
        "and, beside each, its captions (photo.jpg, photo.txt)."
    ]


def image_names(root: Path) -> list[str]:
    """Paths of all images under `root`, relative to it, sorted."""
    names = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES:
                names.append(Path(folder, name).relative_to(root).as_posix())
    return sorted(names)


def _captions(root: Path, name: str) -> list[tuple[str, str]]:
    path = (root / name).with_suffix(".txt")
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise DataError(f"its captions are not UTF-8 text: {path}") from error
    except OSError as error:
        raise DataError(f"its captions cannot be read: {path}: {error.strerror or error}") from error
    return [(f"{name}#{number}", line) for number, line in enumerate(lines) if line.strip()]
