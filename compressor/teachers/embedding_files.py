"""Files of stored embeddings: safetensors or npy, mapped into memory, never read as a whole. Torch-free."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from compressor.errors import DataError, MissingResourceError, ModelError
from compressor.files import read_json

IMAGE, TEXT = "image_embeds", "text_embeds"
IDS_FILE = "ids.json"
_NPY = (f"{IMAGE}.npy", f"{TEXT}.npy")
_TYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2"}
_HASHED_ROWS = 8192
_METADATA_LISTS = ("image_ids", "text_ids", "image_filenames")


@dataclass(frozen=True)
class Matrix:
    """Rows of one modality on disk. `bfloat16` is stored as its upper 16 bits, which NumPy does not know."""

    values: NDArray[Any]
    bfloat16: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and width."""
        return self.values.shape[0], self.values.shape[1]

    def rows(self, index: NDArray[np.int64]) -> NDArray[np.float32]:
        """The rows of an index, in fp32: (n, D)."""
        taken = np.asarray(self.values[index])
        if self.bfloat16:
            return (taken.astype(np.uint32) << 16).view(np.float32)
        return taken.astype(np.float32)


@dataclass(frozen=True)
class EmbeddingFiles:
    """Both matrices of a file or folder and the lists of ids that came with them."""

    path: Path
    image: Matrix
    text: Matrix
    lists: dict[str, list[str]]

    def content_hash(self) -> str:
        """blake2b-128 of both matrices. Not of the file: the order of its metadata is the writer's chance."""
        digest = hashlib.blake2b(digest_size=16)
        for matrix in (self.image, self.text):
            digest.update(f"{matrix.values.dtype.str} {matrix.bfloat16} {matrix.shape}\n".encode())
            for start in range(0, matrix.shape[0], _HASHED_ROWS):
                rows = np.ascontiguousarray(matrix.values[start : start + _HASHED_ROWS])
                digest.update(rows.view(np.uint8).data)
        return digest.hexdigest()


def missing_embedding_files(path: Path) -> str | None:
    """The sentence for stored embeddings that are not there, None when they are."""
    if path.is_dir():
        absent = [name for name in _NPY if not (path / name).is_file()]
        if absent:
            return f"The folder of stored embeddings {path} lacks {', '.join(absent)}: put the arrays there."
        return None
    if path.is_file():
        return None
    return f"The stored embeddings of the teacher are not at {path}: set teacher.path to where they are."


def open_embedding_files(path: Path) -> EmbeddingFiles:
    """Map stored embeddings into memory.

    Raises `MissingResourceError` where there are none and `ModelError` where they are damaged or of another
    form.
    """
    missing = missing_embedding_files(path)
    if missing:
        raise MissingResourceError(missing)
    return _open_npy(path) if path.is_dir() else _open_safetensors(path)


def _open_safetensors(path: Path) -> EmbeddingFiles:
    try:
        with safe_open(path, framework="numpy") as file:  # refuses truncated files and overlapping tensors
            names, metadata = set(file.keys()), dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a whole safetensors file ({error}): fetch it again") from error
    absent = [name for name in (IMAGE, TEXT) if name not in names]
    if absent:
        raise ModelError(
            f"{path} has no tensor {' and no '.join(absent)}; it has {', '.join(sorted(names)) or 'none'}"
        )
    with path.open("rb") as raw:
        length = int.from_bytes(raw.read(8), "little")
        header = json.loads(raw.read(length))
    image, text = (_map_tensor(path, header[name], 8 + length, name) for name in (IMAGE, TEXT))
    return EmbeddingFiles(path, image, text, _metadata_lists(metadata, path))


def _map_tensor(path: Path, entry: dict[str, Any], start: int, name: str) -> Matrix:
    """A memory map of one tensor. Layout: 8 bytes of header length, JSON header, raw little-endian values."""
    shape, kind = tuple(entry["shape"]), entry["dtype"]
    if len(shape) != 2 or 0 in shape:
        raise ModelError(f"{path}: {name} has shape {shape}, it must be (rows, width)")
    if kind not in _TYPES:
        raise ModelError(f"{path}: {name} holds {kind} values, it must hold floats ({', '.join(_TYPES)})")
    offset = start + int(entry["data_offsets"][0])
    values = np.memmap(path, dtype=_TYPES[kind], mode="r", offset=offset, shape=shape)
    return Matrix(values, bfloat16=kind == "BF16")


def _metadata_lists(metadata: dict[str, str], path: Path) -> dict[str, list[str]]:
    lists = {}
    for key in _METADATA_LISTS:
        if key in metadata:
            try:
                lists[key] = _id_list(json.loads(metadata[key]), f"{path}: metadata {key}")
            except (ValueError, RecursionError) as error:
                raise ModelError(f"{path}: metadata {key} is not a JSON list") from error
    return lists


def _open_npy(folder: Path) -> EmbeddingFiles:
    matrices = []
    for name in _NPY:
        try:
            values = np.load(folder / name, allow_pickle=False, mmap_mode="r")
        except (ValueError, OSError, EOFError, BadZipFile) as error:
            raise ModelError(f"{folder / name} is not a readable NumPy array of numbers: {error}") from error
        if values.ndim != 2 or 0 in values.shape or values.dtype.kind != "f":
            raise ModelError(
                f"{folder / name} has shape {values.shape} of {values.dtype}, it must be floats (rows, width)"
            )
        matrices.append(Matrix(values))
    lists = {}
    if (folder / IDS_FILE).is_file():
        try:
            content = read_json(folder / IDS_FILE)
        except DataError as error:
            raise ModelError(str(error)) from error
        if not isinstance(content, dict):
            raise ModelError(f"{folder / IDS_FILE} must be an object with image_ids and text_ids")
        lists = {
            key: _id_list(content[key], f"{folder / IDS_FILE}: {key}")
            for key in _METADATA_LISTS
            if key in content
        }
    return EmbeddingFiles(folder, matrices[0], matrices[1], lists)


def _id_list(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str | int) for item in value):
        raise ModelError(f"{where} is not a list of ids")
    return [str(item) for item in value]
