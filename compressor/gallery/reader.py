"""What can be read of a gallery: items, counts, pages, and what a search finds."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressor.errors import DataError, GalleryError
from compressor.gallery.columns import Mask
from compressor.gallery.exact import nearest
from compressor.gallery.filters import parse_filter
from compressor.gallery.identity import Identity
from compressor.gallery.index import search_large
from compressor.gallery.items import Hit, Item, Page, check_id
from compressor.gallery.pointer import Notes, Pointer
from compressor.gallery.rows import SHOWN, as_item, check_vector
from compressor.gallery.snapshot import EVERYTHING, Snapshot, take
from compressor.gallery.store import Store, Table, id_in, lance_errors

MAX_K = 10_000
MAX_PAGE = 1_000


class Reader:
    """One table of items, as it is at the moment of each call. Safe to call from several threads."""

    def __init__(
        self,
        store: Store,
        notes: Notes,
        pointer: Pointer,
        table: Table,
        identity: Identity | None,
        exact_below: int,
    ) -> None:
        self.uri = store.uri
        self.pointer = pointer
        self.identity = identity
        self.exact_below = exact_below
        self._store = store
        self._notes = notes
        self._table = table
        self._snapshot: Snapshot | None = None
        self._refreshing = threading.Lock()

    @property
    def superseded(self) -> bool:
        """True when a rebuild has switched to another bundle. This object then still reads the items as they
        were, until the next rebuild or `remove_superseded`, and refuses to change them."""
        pointer = self._notes.pointer()
        return pointer is None or pointer.table != self.pointer.table

    @property
    def version(self) -> int:
        """Grows with every change that any process makes."""
        with lance_errors(self.uri):
            return int(self._table.version)

    def get(self, id: str) -> Item | None:
        """An item, None where there is none."""
        found = self._rows([check_id(id)], SHOWN)
        return as_item(found[0]) if found else None

    def thumbnail(self, id: str) -> bytes | None:
        """A JPEG file of at most 256 pixels a side, None where there is no such item."""
        found = self._rows([check_id(id)], ("thumbnail",))
        return found[0]["thumbnail"] if found else None

    def vector(self, id: str) -> NDArray[np.float32] | None:
        """An item's unit row (width,), None where there is no such item."""
        found = self._rows([check_id(id)], ("vector",))
        return np.asarray(found[0]["vector"], np.float32) if found else None

    def page(self, cursor: str | None = None, limit: int = 100, where: object = None) -> Page:
        """Up to `limit` (1 to 1,000) items after the id `cursor`, in the order of ids.

        Items that come and go between two pages move no others. `where`: `compressor.gallery.filters`.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_PAGE:
            raise DataError(f"a page has 1 to {MAX_PAGE:,} items, not {limit!r:.40}")
        if cursor is not None:
            check_id(cursor)
        snapshot = self._fresh()
        mask = self._mask(snapshot, where)
        ids = snapshot.after(cursor, limit + 1, mask)
        shown = ids[:limit]
        items = {row["id"]: as_item(row) for row in self._rows(shown, SHOWN)}
        return Page([items[id] for id in shown if id in items], shown[-1] if len(ids) > limit else None)

    def count(self, where: object = None) -> int:
        """How many items there are, or pass a filter."""
        if where is None:
            with lance_errors(self.uri):
                return int(self._table.count_rows())
        snapshot = self._fresh()
        mask = self._mask(snapshot, where)
        return len(snapshot) if mask is None else int(mask.sum())

    def hashes(self) -> dict[str, str]:
        """id -> sha256 of the original file, of all items."""
        with lance_errors(self.uri):
            rows = self._table.search().select(["id", "sha256"]).limit(EVERYTHING).to_arrow()
        return dict(zip(rows["id"].to_pylist(), rows["sha256"].to_pylist(), strict=True))

    def search(self, vectors: NDArray[np.float32], k: int, where: object = None) -> list[list[Hit]]:
        """For each of (Q, width) unit queries the k (1 to 10,000) items of highest cosine, best first.

        Fewer where there are fewer. Equal scores are ordered by id. `where`: a filter in JSON, see
        `compressor.gallery.filters`. Raises `DataError` for k out of bounds and queries of another shape or
        length, `FilterError` for a filter that is none.
        """
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MAX_K:
            raise DataError(f"k is a whole number from 1 to {MAX_K:,}, not {k!r:.40}")
        queries = self._queries(vectors)
        snapshot = self._fresh()
        mask = self._mask(snapshot, where)
        if snapshot.vectors is None:
            with lance_errors(self.uri):
                found = search_large(snapshot, queries, k, mask)
        else:
            found = nearest(snapshot.vectors, queries, k, None if mask is None else np.flatnonzero(mask))
        return [
            [
                Hit(snapshot.ids[int(place)].as_py(), float(score), dict(snapshot.metadata[place]))
                for place, score in zip(places, scores, strict=True)
            ]
            for places, scores in found
        ]

    def _width(self) -> int:
        if self.identity is None:
            raise GalleryError(f"{self.uri}: was opened without a bundle, which vectors need")
        return self.pointer.width

    def _queries(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        width, queries = self._width(), np.asarray(vectors, np.float32)
        if queries.ndim != 2 or queries.shape[1] != width:
            raise DataError(f"queries have the shape (Q, {width}), not {queries.shape}")
        for query in queries:
            check_vector(query)
        return queries

    def _rows(self, ids: Sequence[str], columns: Sequence[str]) -> list[dict[str, Any]]:
        """Rows in any order. Looking for an id reads all of them, unless a search has just done so."""
        if not ids:
            return []
        snapshot = self._snapshot
        with lance_errors(self.uri):
            if snapshot is not None and snapshot.version == self._table.version:
                row_ids = snapshot.row_ids_of(ids)
                asked = snapshot.table.take_row_ids(row_ids) if row_ids else None
            else:
                asked = self._table.search().where(id_in(ids)).limit(len(ids))
            found: list[dict[str, Any]] = (
                [] if asked is None else asked.select(list(columns)).to_arrow().to_pylist()
            )
        return found

    def _mask(self, snapshot: Snapshot, where: object) -> Mask | None:
        return None if where is None else snapshot.columns.matching(parse_filter(where))

    def _fresh(self) -> Snapshot:
        """The state of this moment, read once for all threads that ask at the same time."""
        with self._refreshing, lance_errors(self.uri):
            version = self._table.version
            if self._snapshot is None or self._snapshot.version != version:
                pinned = self._store.open(self.pointer.table)
                if pinned is None:
                    raise GalleryError(f"{self.uri}: the gallery was rebuilt and its old items are removed")
                pinned.checkout(version)
                self._snapshot = take(pinned, version, self.exact_below, self._snapshot)
            return self._snapshot
