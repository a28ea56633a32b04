"""The gallery as its users meet it: open, add, get, list, delete, search."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressor.errors import DataError, GalleryError, GalleryMismatchError, MissingResourceError
from compressor.gallery.identity import Identity, identity_of
from compressor.gallery.index import build_index, has_index, measure
from compressor.gallery.items import Added, NewItem, check_id
from compressor.gallery.pointer import POINTER, Notes, Pointer, new_table_name
from compressor.gallery.reader import Reader
from compressor.gallery.rows import items_schema, new_rows
from compressor.gallery.store import (
    Store,
    Table,
    folder_holds_something_else,
    id_in,
    is_local,
    lance_errors,
    retried,
    upsert,
)
from compressor.gallery.upkeep import PIECES, is_due, is_taken, lease, state
from compressor.runtime.bundle import Bundle

EXACT_BELOW = 100_000
MAX_CALL = 10_000
KEEP_VERSIONS = timedelta(minutes=10)
"""How long `optimize` leaves the files of states that a slow reader may still be at."""


class Gallery(Reader):
    """Pictures, their vectors and metadata, all of one embedding space. Make one with `Gallery.open`.

    Safe to call from several threads. Several processes may have the same gallery open; each sees what the
    others have added as soon as their calls have returned. Do not fork a process that has one open.
    """

    def __init__(
        self,
        store: Store,
        notes: Notes,
        pointer: Pointer,
        table: Table,
        identity: Identity | None,
        exact_below: int,
        keep_originals: bool,
    ) -> None:
        super().__init__(store, notes, pointer, table, identity, exact_below)
        self.keep_originals = keep_originals

    @classmethod
    def open(
        cls,
        uri: str | Path,
        bundle: Bundle | Identity | None = None,
        *,
        create: bool = False,
        exact_below: int = EXACT_BELOW,
        keep_originals: bool = False,
        storage_options: dict[str, str] | None = None,
    ) -> Gallery:
        """Open the gallery in a folder, or at any address that LanceDB knows (s3://bucket/gallery).

        `bundle`: whose vectors will be added and searched with; without one the gallery can be looked at and
        items can be deleted. `create`: make an empty one where there is none. `exact_below`: galleries of so
        many items and more are searched with an approximate index. `keep_originals`: keep the files that are
        added, so that the gallery can be rebuilt without them. `storage_options`: credentials and the like.

        Raises `GalleryMismatchError` for a gallery of another bundle or precision, `MissingResourceError`
        where there is none, `GalleryError` for one of a newer version or damaged, `MissingDependencyError`
        without LanceDB.
        """
        uri = str(uri)
        identity = None if bundle is None else identity_of(bundle)
        if folder_holds_something_else(uri, POINTER):
            raise GalleryError(f"{uri}: is no gallery but holds files; name a folder that is empty or new")
        if not create and is_local(uri) and not Path(uri).exists():
            raise _no_gallery(uri)
        store = Store(uri, storage_options)
        notes = Notes(store, create=create and identity is not None)
        pointer = notes.pointer()
        if pointer is None:
            if not create or identity is None:
                raise _no_gallery(uri)
            pointer = _start(store, notes, identity)
        if identity is not None:
            pointer.check(uri, identity)
        table = store.open(pointer.table)
        if table is None:
            raise GalleryError(f"{uri}: damaged, its table {pointer.table} is missing")
        return cls(store, notes, pointer, table, identity, exact_below, keep_originals)

    def add(self, items: Sequence[NewItem], vectors: NDArray[np.float32]) -> Added:
        """Add items with their unit vectors (N, width) float32, or replace those with the same ids.

        When the call returns, all items but those in `errors` are there for every process, and stay after a
        SIGKILL; before, none of them is visible. Raises `GalleryMismatchError` for vectors of another space
        and after a rebuild, `DataError` for more than 10,000 items or another shape.
        """
        rows = np.asarray(vectors)
        if len(items) > MAX_CALL:
            raise DataError(f"one call adds at most {MAX_CALL:,} items, not {len(items):,}")
        if rows.dtype != np.float32 or rows.shape != (len(items), self._width()):
            raise DataError(
                f"{len(items)} items need vectors ({len(items)}, {self._width()}) float32, "
                f"not {rows.shape} {rows.dtype}"
            )
        table, errors = new_rows(items, rows, self._width(), self.keep_originals)
        if table.num_rows:
            self._check_current()
            with lance_errors(self.uri):
                upsert(self._table, "id", table)
            self._check_current()
        return Added(table["id"].to_pylist(), errors)

    def delete(self, ids: Sequence[str]) -> int:
        """Delete items in one commit; how many there were. Ids that are not there are no error."""
        if isinstance(ids, str):
            raise TypeError("delete takes a list of ids; put a single one into a list")
        if len(ids) > MAX_CALL:
            raise DataError(f"one call deletes at most {MAX_CALL:,} items, not {len(ids):,}")
        return self._deleted(id_in(sorted({check_id(id) for id in ids}))) if ids else 0

    def clear(self) -> int:
        """Delete all items in one commit; how many there were."""
        return self._deleted("true")

    def info(self) -> dict[str, Any]:
        """What the gallery is: space, size, and how it is searched, with the measured recall of an index."""
        with lance_errors(self.uri):
            count, version = int(self._table.count_rows()), int(self._table.version)
            fragments = int(self._table.stats()["fragment_stats"]["num_fragments"])
        pointer, index = self.pointer, self._notes.read(f"index:{self.pointer.table}")
        return {
            "uri": self.uri,
            "schema_version": pointer.schema_version,
            "items": count,
            "bundle": pointer.bundle,
            "precision": pointer.precision,
            "fingerprint": pointer.fingerprint,
            "width": pointer.width,
            "created_by": pointer.created_by,
            "created_at": pointer.created_at,
            "version": version,
            "fragments": fragments,
            "exact_below": self.exact_below,
            "search": "exact" if count < self.exact_below or index is None else "approximate",
            "index": index,
            "superseded": self.superseded,
        }

    def optimize(self, keep: timedelta = KEEP_VERSIONS) -> None:
        """Merge the small pieces that many calls leave, remove files that no reader of the last minutes
        needs, and for a large gallery build the index, or extend it, and measure its recall.

        Others may read and write meanwhile. It takes minutes where an index is built.
        """
        name = self.pointer.table
        with lance_errors(self.uri):
            retried(lambda: self._table.optimize(cleanup_older_than=keep))
            self._notes.tidy(keep)
            if self._table.count_rows() >= self.exact_below:
                if not has_index(self._table):
                    retried(lambda: build_index(self._table))
                self._notes.write(f"index:{name}", measure(self._table).facts())
            self._notes.write(f"upkeep:{name}", state(self._table))

    def due(self, pieces: int = PIECES) -> bool:
        """Whether `optimize` is worth it now and nobody is at it: a few milliseconds at any size.

        It is after `pieces` commits that have left new pieces, where they are much of the gallery, after
        several times as many changes of any kind, and where a tenth of a large gallery is not indexed.
        """
        if self.superseded or is_taken(self._notes):
            return False
        with lance_errors(self.uri):
            noted = self._notes.read(f"upkeep:{self.pointer.table}")
            return is_due(self._table, noted, self.exact_below, pieces)

    def keep_up(self) -> bool:
        """`optimize`, unless another process that shares the gallery is at it: then False."""
        with lease(self._notes) as taken:
            if taken:
                self.optimize()
        return taken

    def remove_superseded(self) -> list[str]:
        """Remove the tables that rebuilds have left, finished or not; whoever still reads them cannot any
        more. Their names."""
        current = self._notes.pointer()
        kept = {POINTER, current.table if current else self.pointer.table}
        left = [name for name in self._store.names() if name not in kept]
        for name in left:
            self._store.drop(name)
        return left

    def _deleted(self, condition: str) -> int:
        self._check_current()
        with lance_errors(self.uri):
            done = retried(lambda: self._table.delete(condition))
        self._check_current()
        return int(done.num_deleted_rows)

    def _check_current(self) -> None:
        """Before a commit and after it: what was committed while a rebuild switched may not be in the new
        table, and is therefore not acknowledged."""
        pointer = self._notes.settled()
        if pointer is None or pointer.table != self.pointer.table:
            raise GalleryMismatchError(
                f"{self.uri}: the gallery was rebuilt for another bundle meanwhile; open it with that one"
            )


def place_beside(bundle: Path) -> Path:
    """Where the gallery of a bundle folder lies unless someone says otherwise: `gallery` beside it."""
    return bundle.absolute().parent / "gallery"


def _start(store: Store, notes: Notes, identity: Identity) -> Pointer:
    """Make the first table and point to it, unless another process was first."""
    name = new_table_name(identity)
    store.create(name, items_schema(identity.width))
    notes.start(Pointer.to(name, identity))
    pointer = notes.pointer()
    assert pointer is not None
    if pointer.table != name:
        store.drop(name)
    return pointer


def _no_gallery(uri: str) -> MissingResourceError:
    return MissingResourceError(
        f"{uri}: there is no gallery here; `compressor gallery build RUN --images DIR` makes one"
    )
