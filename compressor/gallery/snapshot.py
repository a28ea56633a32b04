"""One state of a gallery in memory: ids, metadata and, below the threshold of exact search, vectors."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compressor.gallery.columns import Columns, Mask
from compressor.gallery.store import Table

if TYPE_CHECKING:
    import pyarrow

EVERYTHING = 2**31 - 1
_TAKEN = 10_000


@dataclass(frozen=True)
class Snapshot:
    """N items in the order of their ids (by code points), as they were at a version of the table.

    `table` stays at that version. `vectors` (N, D) float32 is None for a gallery too large to hold them.
    """

    version: int
    table: Table
    ids: pyarrow.Array
    row_ids: NDArray[np.uint64]
    revisions: NDArray[np.int64]
    metadata: NDArray[np.object_]
    vectors: NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.revisions)

    def after(self, cursor: str | None, limit: int, mask: Mask | None) -> list[str]:
        """Up to `limit` ids that follow `cursor` in their order; `mask` (N,) leaves only some of them."""
        places = range(len(self))
        start = 0 if cursor is None else bisect_right(places, cursor, key=lambda at: self.ids[at].as_py())
        if mask is None:
            return self.ids.slice(start, limit).to_pylist()
        return self.ids.take(start + np.flatnonzero(mask[start:])[:limit]).to_pylist()

    def row_ids_of(self, ids: Sequence[str]) -> list[int]:
        """Where the table keeps these items; without those that are not there."""
        found = []
        for id in ids:
            place = bisect_left(range(len(self)), id, key=lambda at: self.ids[at].as_py())
            if place < len(self) and self.ids[place].as_py() == id:
                found.append(int(self.row_ids[place]))
        return found

    @cached_property
    def columns(self) -> Columns:
        """The metadata, as filters look at it."""
        return Columns(self.metadata)  # type: ignore[arg-type]

    @cached_property
    def place_of(self) -> dict[str, int]:
        """id -> place."""
        return {id: place for place, id in enumerate(self.ids.to_pylist())}


def take(pinned: Table, version: int, exact_below: int, old: Snapshot | None) -> Snapshot:
    """Read a table that is checked out at `version`; what `old` holds unchanged is not read again."""
    import pyarrow.compute as pc

    light = column_table(pinned, ["id", "revision"])
    light = light.take(pc.sort_indices(light["id"]))
    ids = light["id"].combine_chunks()
    revisions = light["revision"].to_numpy()
    row_ids = light["_rowid"].to_numpy()
    count, hold = len(ids), len(ids) < exact_below
    metadata = np.empty(count, dtype=object)
    width = pinned.schema.field("vector").type.list_size
    vectors = np.empty((count, width), np.float32) if hold else None

    kept = np.zeros(count, dtype=bool)
    if old is not None and len(old) and (old.vectors is not None) >= hold:
        places = pc.fill_null(pc.index_in(ids, value_set=old.ids), -1).to_numpy(zero_copy_only=False)
        kept = (places >= 0) & (old.revisions[places] == revisions)
        metadata[kept] = old.metadata[places[kept]]
        if vectors is not None and old.vectors is not None:
            vectors[kept] = old.vectors[places[kept]]

    fresh = np.flatnonzero(~kept)
    if len(fresh):
        names = ["metadata", "vector"] if hold else ["metadata"]
        by_row_id = np.argsort(row_ids)
        rising = row_ids[by_row_id]
        for rows in _fetched(pinned, names, row_ids, fresh):
            places = by_row_id[np.searchsorted(rising, rows["_rowid"].to_numpy())]
            metadata[places] = [json.loads(text) for text in rows["metadata"].to_pylist()]
            if vectors is not None:
                vectors[places] = as_matrix(rows["vector"], width)
    return Snapshot(version, pinned, ids, row_ids, revisions, metadata, vectors)


def column_table(table: Table, names: list[str]) -> Any:
    """Some columns of every row, and `_rowid`."""
    return table.search().select(names).with_row_id(True).limit(EVERYTHING).to_arrow()


def as_matrix(column: Any, width: int) -> NDArray[np.float32]:
    """A column of vectors as (N, width)."""
    whole = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    flat: NDArray[np.float32] = whole.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(-1, width)


def _fetched(
    table: Table, names: list[str], row_ids: NDArray[np.uint64], fresh: NDArray[np.int64]
) -> Iterable[Any]:
    """Some columns of the fresh rows, or of all where most are, in pieces that need little memory."""
    if 2 * len(fresh) > len(row_ids):
        batches: Iterable[Any] = table.search().select(names).with_row_id(True).limit(EVERYTHING).to_batches()
        return batches
    return (
        table.take_row_ids(row_ids[fresh[start : start + _TAKEN]].tolist())
        .select(names)
        .with_row_id()
        .to_arrow()
        for start in range(0, len(fresh), _TAKEN)
    )
