"""What a teacher store contains.

Content keys, the shard files, `index.json`, memory-mapped rows. Torch-free.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from compressor.errors import ModelError
from compressor.files import read_json, write_json

STORE_VERSION = 1
KEY_BYTES = 16
INDEX = "index.json"
IN_MEMORY_BYTES = 2**30
"""Below this size all rows are read once; above, they stay memory-mapped."""

Kind = Literal["image", "text"]
Key = bytes
KINDS: tuple[Kind, ...] = ("image", "text")


def image_key(digest: str, sample_id: str, view: int) -> bytes:
    """Key of one view of one picture: the decoded pixels, and what the augmentation is drawn from."""
    return blake2b(f"{digest}\0{view}\0{sample_id}".encode(), digest_size=KEY_BYTES, person=b"image").digest()


def text_key(caption: str) -> bytes:
    """Key of a caption: its text alone, so that equal captions share one row."""
    return blake2b(caption.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES, person=b"text").digest()


def shard_name(kind: Kind, keys: Sequence[bytes]) -> str:
    """File name of the shard that holds these rows: a hash of their keys, in order."""
    return f"{kind}-{blake2b(b''.join(keys), digest_size=KEY_BYTES).hexdigest()}.safetensors"


def store_bytes(images: int, views: int, captions: int, dim: int) -> int:
    """Size of a store on the disk: fp16 rows of width `dim` and their keys."""
    return (images * views + captions) * (2 * dim + KEY_BYTES)


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One finished shard."""

    file: str
    rows: int


@dataclass
class StoreIndex:
    """`index.json`: which shards belong to the store, in row order."""

    key: str
    dim: int
    shards: dict[Kind, list[ShardEntry]]

    @classmethod
    def read(cls, folder: Path, key: str) -> StoreIndex | None:
        """The index of a folder; None where there is none.

        Raises `ModelError` when the store belongs to another teacher, preprocessing or augmentation.
        """
        path = folder / INDEX
        if not path.is_file():
            return None
        content = read_json(path)
        if content.get("version") != STORE_VERSION or content.get("key") != key:
            raise ModelError(
                f"the teacher store {folder} is stale: it was built for fingerprint {content.get('key')} "
                f"(version {content.get('version')}), but the teacher, its preprocessing or the augmentation "
                f"of this recipe has {key} (version {STORE_VERSION}); delete the folder and run "
                "`compressor cache` again"
            )
        shards = {kind: [ShardEntry(**entry) for entry in content["shards"][kind]] for kind in KINDS}
        return cls(key, content["dim"], shards)

    def write(self, folder: Path) -> None:
        """Replace the index whole."""
        shards = {kind: [{"file": s.file, "rows": s.rows} for s in self.shards[kind]] for kind in KINDS}
        write_json(
            folder / INDEX, {"version": STORE_VERSION, "key": self.key, "dim": self.dim, "shards": shards}
        )


class Shard:
    """One safetensors file, memory-mapped: `embeddings` (n, D) float16 and `keys` (n, 16) uint8."""

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(length))
            start = 8 + length
            self.store_key: str = header.get("__metadata__", {}).get("store", "")
            self.embeddings = _mapped(path, header["embeddings"], start, "F16", np.float16)
            self.keys = _mapped(path, header["keys"], start, "U8", np.uint8)
        except (OSError, ValueError, KeyError, struct.error) as error:
            raise ModelError(
                f"the teacher store's shard {path} cannot be read ({error}); delete it and rebuild"
            ) from error

    @property
    def rows(self) -> int:
        return int(self.embeddings.shape[0])

    @property
    def dim(self) -> int:
        return int(self.embeddings.shape[1])


def _mapped(path: Path, entry: dict[str, list[int]], start: int, dtype: str, numpy_type: type) -> np.ndarray:
    if entry["dtype"] != dtype:
        raise ValueError(f"it holds {entry['dtype']} instead of {dtype}")
    shape = (entry["shape"][0], entry["shape"][1])
    return np.memmap(path, dtype=numpy_type, mode="r", offset=start + entry["data_offsets"][0], shape=shape)


class Rows:
    """All rows of one kind over the shards, addressed by number; float16 as stored."""

    def __init__(self, shards: Sequence[Shard], dim: int, in_memory_bytes: int = IN_MEMORY_BYTES) -> None:
        self.dim = dim
        self.starts = np.cumsum([0, *(shard.rows for shard in shards)])
        self._shards = shards
        self._table: NDArray[np.float16] | None = None
        if len(self) * dim * 2 <= in_memory_bytes:
            parts = [shard.embeddings for shard in shards]
            self._table = np.concatenate(parts) if parts else np.empty((0, dim), np.float16)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def numbers(self) -> dict[bytes, int]:
        """Row number of every key."""
        keys = (bytes(key) for shard in self._shards for key in np.asarray(shard.keys))
        return {key: number for number, key in enumerate(keys)}

    def gather(self, numbers: NDArray[np.int64]) -> NDArray[np.float16]:
        """(n,) row numbers -> (n, D), one vectorised read per shard touched."""
        if self._table is not None:
            return self._table[numbers]
        out = np.empty((len(numbers), self.dim), np.float16)
        shard_of = np.searchsorted(self.starts, numbers, side="right") - 1
        for shard in np.unique(shard_of):
            here = shard_of == shard
            out[here] = self._shards[shard].embeddings[numbers[here] - self.starts[shard]]
        return out


def open_rows(folder: Path, index: StoreIndex, kind: Kind) -> Rows:
    """The rows of one kind; raises `ModelError` where a shard is gone or of another store."""
    shards = []
    for entry in index.shards[kind]:
        shard = Shard(folder / entry.file)
        if shard.store_key != index.key or shard.rows != entry.rows or shard.dim != index.dim:
            raise ModelError(
                f"the teacher store's shard {folder / entry.file} is not of this store; delete it and rebuild"
            )
        shards.append(shard)
    return Rows(shards, index.dim)


def unique(keys: Iterable[bytes]) -> dict[bytes, int]:
    """First position of each distinct key, in order."""
    first: dict[bytes, int] = {}
    for position, key in enumerate(keys):
        first.setdefault(key, position)
    return first
