"""CSV and TSV tables of image paths and captions."""

from __future__ import annotations

import csv
import io
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from compressor.data.files import (
    FilePairs,
    log_empty_captions,
    path_inside,
    refuse_absent_images,
    refuse_empty_split,
    tidy_captions,
)
from compressor.data.pairs import Row
from compressor.data.subset import split_by_hash
from compressor.errors import DataError, MissingResourceError
from compressor.recipe.data import Split, TableData

_LOGGER = logging.getLogger(__name__)
_DELIMITERS = {".csv": ",;\t|", ".tsv": "\t", ".tab": "\t"}
_SYNONYMS = {"restval": "train", "validation": "val", "valid": "val", "dev": "val"}
_DEFAULT_SPLIT_COLUMN = "split"
_HELP = "set data.images to the folder that the table's image paths start from"


@dataclass
class _Image:
    split: str
    captions: list[tuple[str, str]] = field(default_factory=list)


def open_table(section: TableData, split: Split) -> FilePairs:
    """One split of a CSV or TSV file with a header, UTF-8, quoted as spreadsheets do.

    Row ids are the image paths as written, caption ids `<image path>#<k>`. Rows with the same path are
    captions of one image. Without a split column the image path decides (`split_by_hash`).

    Raises:
        MissingResourceError: the table or the images are not there.
        DataError: the table is malformed (file and line), or the split has no images.
    """
    absent = missing(section)
    if absent:
        raise MissingResourceError(" ".join(absent))
    path, root = section.path, _images(section)
    text = _text(path)
    header, delimiter = _header(section, text)
    images: dict[str, _Image] = {}
    for line, record in _records(path, text, header, delimiter):
        _add(images, record, section, f"{path}:{line}")
    counts = Counter(image.split for image in images.values())
    named = section.split_column in header
    hint = "" if named else "; the table has no split column, so data.split_fractions decide"
    refuse_empty_split(split, counts, str(path), hint)
    empty: list[str] = []
    rows: list[Row] = []
    paths: list[Path] = []
    for name, image in images.items():
        located = path_inside(root, name, str(path))
        if image.split == split:
            rows.append(Row(name, *tidy_captions(image.captions, empty)))
            paths.append(located)
    if not any(row.captions for row in rows):
        raise DataError(f"{path}: no image of the split {split!r} has a caption")
    log_empty_captions(_LOGGER, str(path), empty)
    refuse_absent_images(paths, str(path), _HELP)
    return FilePairs(split, rows, paths, source=f"table {root}")


def missing(section: TableData) -> list[str]:
    """What is not there: the table, the folder of images."""
    found = []
    if not section.path.exists():
        found.append(f"The table is missing: looked for {section.path}; set data.path to a CSV or TSV file.")
    if not _images(section).is_dir():
        found.append(f"The images are missing: looked for the folder {_images(section)}; {_HELP}.")
    return found


def _images(section: TableData) -> Path:
    return section.images or section.path.parent


def _add(images: dict[str, _Image], record: Mapping[str, str], section: TableData, where: str) -> None:
    """Put one line of the table to its image."""
    name = record[section.image_column].strip()
    named = record.get(section.split_column) if section.split_column else None
    if named is None:
        split: str = split_by_hash(name, section.split_fractions)
    else:
        split = _SYNONYMS.get(named.strip(), named.strip())
    image = images.setdefault(name, _Image(split))
    if image.split != split:
        raise DataError(f"{where}: {name!r} is in the split {split!r} here and in {image.split!r} above")
    if not name:
        raise DataError(f"{where}: the column {section.image_column!r} is empty")
    image.captions.append((f"{name}#{len(image.captions)}", record[section.caption_column]))


def _records(
    path: Path, text: str, header: list[str], delimiter: str
) -> Iterator[tuple[int, dict[str, str]]]:
    """(line of the file, values by column) of every record after the header."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for number, values in enumerate(reader):
            if number == 0 or not values:
                continue
            if len(values) != len(header):
                count = f"{len(values)} fields, but the header has {len(header)} columns"
                raise DataError(f"{path}:{reader.line_num}: {count}")
            yield reader.line_num, dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise DataError(
            f"{path}:{reader.line_num}: not a valid table: {error} (quote marks in a field are doubled)"
        ) from error


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: the table cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: the table is not UTF-8 text; save it as UTF-8") from error


def _header(section: TableData, text: str) -> tuple[list[str], str]:
    """The columns and the delimiter: the extension's first delimiter that gives the columns asked for."""
    path = section.path
    first = io.StringIO(text, newline="").readline()
    candidates = _DELIMITERS.get(path.suffix.lower(), ",\t;|")
    wanted = [section.image_column, section.caption_column]
    if section.split_column not in (None, _DEFAULT_SPLIT_COLUMN):
        wanted.append(str(section.split_column))
    headers = {delimiter: _columns(first, delimiter) for delimiter in candidates}
    for delimiter, columns in headers.items():
        if set(wanted) <= set(columns):
            if len(set(columns)) != len(columns):
                raise DataError(f"{path}:1: a column name appears more than once: {', '.join(columns)}")
            return columns, delimiter
    absent = ", ".join(repr(column) for column in wanted)
    likely = max(headers.values(), key=len)
    raise DataError(
        f"{path}:1: the columns {absent} are needed, the header has: {', '.join(likely) or 'nothing'}"
    )


def _columns(line: str, delimiter: str) -> list[str]:
    """The names in a header line; none where the line is not valid with this delimiter."""
    try:
        return [name.strip() for name in next(csv.reader([line], delimiter=delimiter, strict=True), [])]
    except csv.Error:
        return []
