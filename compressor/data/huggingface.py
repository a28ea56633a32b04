"""Data sets of the Hugging Face `datasets` library, from the hub or a local folder."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from compressor.data.files import (
    fingerprint_of,
    log_empty_captions,
    read_image_file,
    refuse_duplicates,
    refuse_empty_split,
    tidy_captions,
)
from compressor.data.pairs import Row
from compressor.errors import BadImageError, DataError, MissingDependencyError, MissingResourceError
from compressor.preprocess.image import decode_image
from compressor.recipe.data import HuggingFaceData, Split

if TYPE_CHECKING:
    from datasets import Dataset

_LOGGER = logging.getLogger(__name__)
_INSTALL = "data.kind huggingface needs the datasets library: pip install 'compressor[train]'"
_SAVED = ("dataset_dict.json", "state.json")


class HuggingFacePairs:
    """Rows of one split; images stay in the data set and are read one by one."""

    def __init__(self, split: str, rows: Sequence[Row], images: Dataset, column: str, *, source: str) -> None:
        """`images` has the image column undecoded: mappings with `bytes` or a `path`."""
        self.split = split
        self.rows = rows
        self.fingerprint = fingerprint_of(source, split, rows)
        self._images = images
        self._column = column

    def image_bytes(self, index: int) -> bytes:
        """The stored image of row `index`. Raises `BadImageError` where there is none."""
        stored: dict[str, Any] | None = self._images[index][self._column]
        if stored and stored.get("bytes"):
            return bytes(stored["bytes"])
        if stored and stored.get("path"):
            return read_image_file(Path(stored["path"]))
        raise BadImageError("the row has no image")

    def image(self, index: int) -> Image.Image:
        """Row `index` as RGB. Raises `BadImageError` where it cannot be decoded."""
        return decode_image(self.image_bytes(index))


def open_huggingface(section: HuggingFaceData, split: Split) -> HuggingFacePairs:
    """One split. Row ids come from `id_column` or are `<their split>/<row>`, caption ids `<row id>#<k>`.

    The caption column holds a string or a list of strings. `data.splits` may use slices of the library, such
    as `train[:90%]`.

    Raises:
        MissingDependencyError: the `datasets` library is not installed.
        MissingResourceError: there is no such folder or hub name, or the hub cannot be reached.
        DataError: a column is missing or of another type, ids repeat, the split does not exist or is empty.
    """
    if importlib.util.find_spec("datasets") is None:
        raise MissingDependencyError(_INSTALL)
    if (section.name is None) == (section.path is None):
        raise DataError("data: give exactly one of name (a hub name) and path (a local folder)")
    source = section.name or str(section.path)
    name = section.splits.get(split)
    if name is None:
        raise DataError(
            f"{source}: data.splits names no split for {split!r}, only: {', '.join(section.splits)}"
        )
    table = _split(section, source, name)
    images = _images(table, section, source)
    empty: list[str] = []
    ids = _ids(table, section, source, name)
    captions = _column(table, section.caption_column, source)
    rows = [
        Row(row_id, *tidy_captions(_captions(value, row_id, source), empty))
        for row_id, value in zip(ids, captions, strict=True)
    ]
    refuse_empty_split(split, {split: len(rows)}, f"{source} ({name})")
    refuse_duplicates(ids, "the id", source)
    log_empty_captions(_LOGGER, source, empty)
    where = f"huggingface {source} {section.revision} {name}"
    return HuggingFacePairs(split, rows, images, section.image_column, source=where)


def missing(section: HuggingFaceData) -> list[str]:
    """What is not there: the library, or the local folder. A hub name is looked up when it is opened."""
    found = []
    if importlib.util.find_spec("datasets") is None:
        found.append(f"{_INSTALL}.")
    if section.path is not None and not section.path.is_dir():
        found.append(
            f"The data set is missing: looked for the folder {section.path}; put one there with "
            "datasets.load_dataset(...).save_to_disk(...), or set data.name to a hub name."
        )
    return found


def _split(section: HuggingFaceData, source: str, name: str) -> Dataset:
    import datasets

    absent = missing(section)
    if absent:
        raise MissingResourceError(absent[0])
    saved = section.path is not None and any((section.path / file).is_file() for file in _SAVED)
    try:
        if saved:
            loaded = datasets.load_from_disk(source)
        else:
            sliced = name if "[" in name or "+" in name else None
            loaded = datasets.load_dataset(source, revision=section.revision, split=sliced)
    except (ConnectionError, FileNotFoundError) as error:
        raise MissingResourceError(
            f"{source}: the data set is not here and cannot be fetched ({_first_line(error)}); download it "
            "where there is a network, keep it with save_to_disk and set data.path"
        ) from error
    except Exception as error:  # builders raise any class, down to those of Arrow and of the decoders
        raise DataError(f"{source}: the data set cannot be opened: {_first_line(error)}") from error
    if isinstance(loaded, datasets.Dataset):
        loaded = datasets.DatasetDict({name if not saved else "train": loaded})
    if name not in loaded:
        raise DataError(f"{source}: there is no split {name!r}, only: {', '.join(map(str, loaded))}")
    return loaded[name]


def _images(table: Dataset, section: HuggingFaceData, source: str) -> Dataset:
    """The image column alone, as stored."""
    import datasets

    column = section.image_column
    _column(table, column, source)
    try:
        return table.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    except Exception as error:  # Arrow's cast errors have no common class
        raise DataError(f"{source}: the column {column!r} holds no images: {_first_line(error)}") from error


def _ids(table: Dataset, section: HuggingFaceData, source: str, name: str) -> list[str]:
    if section.id_column is None:
        return [f"{name}/{row}" for row in range(len(table))]
    return [str(value) for value in _column(table, section.id_column, source)]


def _column(table: Dataset, column: str, source: str) -> Sequence[Any]:
    if column not in table.column_names:
        raise DataError(f"{source}: there is no column {column!r}, only: {', '.join(table.column_names)}")
    return table[column]


def _captions(value: Any, row_id: str, source: str) -> list[tuple[str, str]]:
    texts = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{source}: {row_id}: a caption must be a string or a list of strings")
    return [(f"{row_id}#{number}", text) for number, text in enumerate(texts)]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
