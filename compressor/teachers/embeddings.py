"""Embeddings of a teacher that is not here, matched to the rows of a data set by id. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from compressor.data.pairs import Row
from compressor.errors import DataError, ModelError
from compressor.files import hash_json
from compressor.recipe.teacher import EmbeddingsTeacher
from compressor.teachers.embedding_files import EmbeddingFiles, Matrix, open_embedding_files

_NAMED = 3
_CHUNK = 65_536


class StoredEmbeddings:
    """Teacher embeddings by sample id: L2-normalised fp32 rows, read from disk as they are asked for.

    `dim` is the width, `fingerprint` identifies the content and how it was matched to the rows.
    """

    def __init__(
        self,
        section: EmbeddingsTeacher,
        files: EmbeddingFiles,
        image_rows: Mapping[str, int],
        text_rows: Mapping[str, int],
    ) -> None:
        self.section = section
        self.dim = files.image.shape[1]
        self.fingerprint = hash_json(
            [files.content_hash(), hash_json(dict(image_rows)), hash_json(dict(text_rows))]
        )
        self._files = files
        self._image_rows = image_rows
        self._text_rows = text_rows

    @classmethod
    def open(cls, section: EmbeddingsTeacher, rows: Sequence[Row]) -> StoredEmbeddings:
        """Open the file of a recipe and match it to `rows` (all splits that will be used).

        Every embedding that will be used is checked once. Where ids stand nowhere, rows count in the order
        given.

        Raises:
            MissingResourceError: the file is not there.
            ModelError: it is damaged, its widths differ, or a row that is needed is NaN, infinite or zero.
            DataError: ids are missing (the first three named and all counted) or occur twice.
        """
        files = open_embedding_files(section.path)
        if files.image.shape[1] != files.text.shape[1]:
            raise ModelError(
                f"{section.path}: image embeddings are {files.image.shape[1]} wide and text embeddings "
                f"{files.text.shape[1]}: both must come from one space"
            )
        image_rows = _match_images(files, rows)
        text_rows = _match_texts(files, rows)
        _check_rows(files.image, image_rows, section.path, "image")
        _check_rows(files.text, text_rows, section.path, "text")
        return cls(section, files, image_rows, text_rows)

    def image(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of images: (n,) row ids -> (n, dim) float32, unit rows."""
        return _unit(self._files.image.rows(_positions(self._image_rows, ids, self.section.path, "image")))

    def text(self, caption_ids: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of captions: (n,) caption ids -> (n, dim) float32, unit rows."""
        return _unit(
            self._files.text.rows(_positions(self._text_rows, caption_ids, self.section.path, "text"))
        )


def _match_images(files: EmbeddingFiles, rows: Sequence[Row]) -> dict[str, int]:
    """Row of the file for every image id of the data set."""
    wanted = [row.id for row in rows]
    names = files.lists.get("image_ids", files.lists.get("image_filenames"))
    if names is None:
        return _in_order(wanted, files.image.shape[0], files.path, "image")
    where = _by_id(names, files.image.shape[0], files.path, "image")
    if not any(name in where for name in wanted):
        # Annotations may give folder and file name where the embeddings give the name alone, or the reverse.
        bare = [PurePosixPath(name).name for name in names]
        if len(set(bare)) == len(bare):
            short = _by_id(bare, len(bare), files.path, "image")
            found = {
                name: short[PurePosixPath(name).name] for name in wanted if PurePosixPath(name).name in short
            }
            if len(set(found.values())) == len(found):
                where = found
    return _complete(wanted, where, files.path, "image")


def _match_texts(files: EmbeddingFiles, rows: Sequence[Row]) -> dict[str, int]:
    """Row of the file for every caption id: by list, by number (`sentid`), or image by image."""
    wanted = [caption for row in rows for caption in row.caption_ids]
    count = files.text.shape[0]
    names = files.lists.get("text_ids")
    if names is not None:
        return _complete(wanted, _by_id(names, count, files.path, "text"), files.path, "text")
    if "image_ids" not in files.lists and "image_filenames" not in files.lists:
        return _in_order(wanted, count, files.path, "text")
    if wanted and all(_is_number(caption) for caption in wanted):
        where = {caption: int(caption) for caption in wanted if int(caption) < count}
        return _complete(wanted, where, files.path, "text")
    return _image_by_image(files, rows)


def _image_by_image(files: EmbeddingFiles, rows: Sequence[Row]) -> dict[str, int]:
    """Text rows that follow the images of the file, each with its captions in order.

    Where every image of the file is in the data set, the captions are counted; otherwise every image must
    have the same number of them.
    """
    image_of = _match_images(files, rows)
    images, texts = files.image.shape[0], files.text.shape[0]
    captions = np.zeros(images, dtype=np.int64)
    for row in rows:
        captions[image_of[row.id]] = len(row.captions)
    if len(rows) < images:
        if texts % images or (captions > texts // images).any():
            raise DataError(
                f"{files.path}: {texts} text rows for {images} images, the data set has {len(rows)}: "
                "which caption each belongs to cannot be told; add metadata text_ids"
            )
        captions[:] = texts // images
    elif captions.sum() != texts:
        raise DataError(
            f"{files.path}: {texts} text rows, but its images have {captions.sum()} captions in the data set"
        )
    first = np.cumsum(captions) - captions
    return {
        caption: int(first[image_of[row.id]]) + number
        for row in rows
        for number, caption in enumerate(row.caption_ids)
    }


def _in_order(wanted: Sequence[str], count: int, path: Path, what: str) -> dict[str, int]:
    if len(wanted) != count:
        raise DataError(
            f"{path} names no {what} ids and has {count} {what} rows, the data set {len(wanted)}: add "
            f"metadata {what}_ids, a JSON list in row order"
        )
    return dict(zip(wanted, range(count), strict=True))


def _by_id(names: Sequence[str], count: int, path: Path, what: str) -> dict[str, int]:
    if len(names) != count:
        raise DataError(f"{path}: {len(names)} {what} ids for {count} {what} rows")
    where: dict[str, int] = {}
    for position, name in enumerate(names):
        if name in where:
            raise DataError(f"{path}: the {what} id '{name}' stands at rows {where[name]} and {position}")
        where[name] = position
    return where


def _complete(wanted: Sequence[str], where: Mapping[str, int], path: Path, what: str) -> dict[str, int]:
    missing = [name for name in wanted if name not in where]
    if missing:
        named = ", ".join(f"'{name}'" for name in missing[:_NAMED])
        raise DataError(
            f"{path} has no {what} embedding for {len(missing)} of {len(wanted)} ids of the data set, "
            f"the first: {named}"
        )
    return {name: where[name] for name in wanted}


def _positions(where: Mapping[str, int], ids: Sequence[str], path: Path, what: str) -> NDArray[np.int64]:
    _complete(ids, where, path, what)
    return np.array([where[name] for name in ids], dtype=np.int64)


def _check_rows(matrix: Matrix, rows: Mapping[str, int], path: Path, what: str) -> None:
    """Refuse rows without a direction, naming the first. Reads in pieces, so memory stays bounded."""
    names, index = list(rows), np.fromiter(rows.values(), dtype=np.int64, count=len(rows))
    for start in range(0, len(names), _CHUNK):
        values = matrix.rows(index[start : start + _CHUNK])
        finite = np.isfinite(values).all(axis=1)
        zero = finite & ~values.any(axis=1)
        for bad, fault in ((~finite, "NaN or infinite values"), (zero, "only zeros")):
            if bad.any():
                name = names[start + int(np.flatnonzero(bad)[0])]
                raise ModelError(f"{path}: the {what} embedding of '{name}' has {fault}")


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    # Scaled by the largest value first: squares of float16's range overflow or vanish otherwise.
    scaled = values / np.abs(values).max(axis=1, keepdims=True)
    unit: NDArray[np.float32] = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    return unit


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
