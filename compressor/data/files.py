"""What readers of image files have in common: rows with paths, checks, captions made tidy."""

from __future__ import annotations

import hashlib
import json
import logging
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from compressor.data.pairs import Row
from compressor.errors import BadImageError, DataError, MissingResourceError
from compressor.files import hash_json, read_json
from compressor.preprocess.image import decode_image
from compressor.preprocess.text import mend_surrogates

MAX_FILE_BYTES = 256 * 2**20
"""Largest image file that is read, in bytes."""

_PROBED = 16


class FilePairs:
    """Rows whose images are files. `paths` are as many as `rows`."""

    def __init__(self, split: str, rows: Sequence[Row], paths: Sequence[Path], *, source: str) -> None:
        """`source` says where the pairs come from; it is part of the fingerprint."""
        self.split = split
        self.rows = rows
        sizes = [_size(path) for path in paths]
        self.fingerprint = hash_json([fingerprint_of(source, split, rows), sizes])
        self._paths = paths

    def image_bytes(self, index: int) -> bytes:
        """The file of row `index`. Raises `BadImageError` where it cannot be read."""
        return read_image_file(self._paths[index])

    def image(self, index: int) -> Image.Image:
        """Row `index` as RGB. Raises `BadImageError` where it cannot be read or decoded."""
        return decode_image(self.image_bytes(index))


def _size(path: Path) -> int:
    """Bytes of a file, -1 where there is none: a picture that was mended or replaced has another size.

    Times of change are left out, because a copy of the data on another machine is the same data.
    """
    try:
        return path.stat().st_size
    except OSError:
        return -1


def fingerprint_of(source: str, split: str, rows: Iterable[Row]) -> str:
    """Hex blake2b-128 over the source, the split, and the rows' ids and captions in order."""
    content = hashlib.blake2b(json.dumps([source, split]).encode("ascii"), digest_size=16)
    for row in rows:
        content.update(json.dumps([row.id, row.captions, row.caption_ids]).encode("ascii"))
    return content.hexdigest()


def read_image_file(path: Path) -> bytes:
    """The bytes of an image file.

    Raises:
        BadImageError: it is missing, no regular file, too large, or the system refuses to read it.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise BadImageError("it is a folder, not an image file")
        if not stat.S_ISREG(status.st_mode):
            raise BadImageError("it is not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise BadImageError(f"the file has {status.st_size:,} bytes: {MAX_FILE_BYTES:,} are allowed")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise BadImageError(f"no such file: {path}") from error
    except OSError as error:
        raise BadImageError(f"the file cannot be read: {error.strerror or error}") from error


def path_inside(root: Path, name: str, where: str) -> Path:
    """`root / name` for a file name that an annotation file gives.

    Raises:
        DataError: the name is empty, or leads out of `root`; the message starts with `where`.
    """
    relative = PurePosixPath(name)
    if relative.is_absolute() and relative.is_relative_to(root.as_posix()):
        relative = relative.relative_to(root.as_posix())
    if not name.strip() or "\0" in name or name != mend_surrogates(name):
        raise DataError(f"{where}: {name!r} is no file name")
    if relative.is_absolute() or ".." in relative.parts:
        raise DataError(f"{where}: the image path {name!r} leads outside of {root}")
    return root / relative


def tidy_captions(
    captions: Iterable[tuple[str, str]], empty: list[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Captions and ids from (id, caption) pairs: stripped; empty ones are left out and noted in `empty`."""
    texts: list[str] = []
    ids: list[str] = []
    for caption_id, caption in captions:
        text = mend_surrogates(caption).strip()
        if text:
            texts.append(text)
            ids.append(caption_id)
        else:
            empty.append(caption_id)
    return tuple(texts), tuple(ids)


def log_empty_captions(log: logging.Logger, source: str, empty: Sequence[str]) -> None:
    """Say how many empty captions were left out, and name the first."""
    if empty:
        log.warning("%s: left out %d empty captions (first: %s)", source, len(empty), ", ".join(empty[:3]))


def refuse_duplicates(names: Iterable[str], what: str, source: str) -> None:
    """Raise `DataError` naming the first of `names` that comes twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"{source}: {what} {name!r} appears more than once")
        seen.add(name)


def refuse_empty_split(split: str, counts: Mapping[str, int], source: str, hint: str = "") -> None:
    """Raise `DataError` where `split` has no rows, naming the splits that exist and their sizes."""
    if counts.get(split, 0) == 0:
        there = ", ".join(f"{name} ({count})" for name, count in counts.items() if count) or "none"
        raise DataError(f"{source}: the split {split!r} has no images; splits with images: {there}{hint}")


def refuse_absent_images(paths: Sequence[Path], source: str, help_text: str) -> None:
    """Raise `MissingResourceError` where none of some evenly spread images exists."""
    probed = paths[:: max(1, len(paths) // _PROBED)]
    if probed and not any(_size(path) >= 0 for path in probed):
        raise MissingResourceError(
            f"{source}: images are missing, looked for {probed[0]} and others; {help_text}"
        )


def read_annotations(path: Path) -> Any:
    """The JSON of an annotation file. Raises `DataError` (path, line, cause) where it cannot be read."""
    try:
        return read_json(path)
    except OSError as error:
        raise DataError(f"{path}: the annotations cannot be read: {error.strerror or error}") from error


def typed(value: Any, kind: type | tuple[type, ...], where: str, what: str) -> Any:
    """`value` where it is of the given type. Raises `DataError` otherwise; a bool is no number here."""
    if not isinstance(value, kind) or isinstance(value, bool):
        names = " or ".join(_NAMES[one] for one in (kind if isinstance(kind, tuple) else (kind,)))
        found = "nothing" if value is None else f"{_NAMES.get(type(value), type(value).__name__)}"
        raise DataError(f"{where}: {what} must be {names}, found {found}")
    return value


_NAMES: dict[type, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    list: "a list",
    dict: "an object",
}
