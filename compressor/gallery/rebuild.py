"""Re-embed a gallery for another bundle while the old one serves, then switch in one commit.

A new table is filled beside the old one. Every row carries the revision of the row that it was made from:
passes over the old table find what came, changed or went meanwhile, and a rebuild that was killed goes on
where it was. When a pass finds nothing, the pointer is frozen, and writers wait, those too who have committed
but not yet acknowledged. One more pass then has all that was ever acknowledged, and the pointer is switched.
Who dies there leaves a pointer that thaws by itself; since the switch succeeds only from the frozen pointer,
no clock decides what is lost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from compressor.errors import BadImageError, CompressorError, GalleryError
from compressor.gallery.gallery import Gallery
from compressor.gallery.identity import Identity, identity_of
from compressor.gallery.items import NewItem
from compressor.gallery.pictures import embed
from compressor.gallery.pointer import Notes, Pointer, new_table_name, table_prefix
from compressor.gallery.rows import as_table, items_schema
from compressor.gallery.snapshot import column_table
from compressor.gallery.store import Store, Table, id_in, lance_errors, retried, upsert
from compressor.runtime.bundle import Bundle

Progress = Callable[[int, int, str], None]
"""Told how many of how many items are done, and of what the last one was."""
Read = Callable[[str], bytes]
"""Source -> encoded file. Raises `OSError` where it cannot."""
_PASSES = 20
_LOOKED_AT = 8
_FROZEN_SECONDS = 60.0
"""After so long writers go on with the old table."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A gallery of the new bundle. `lost`: id -> why, of items that could not be embedded again."""

    gallery: Gallery
    items: int
    lost: dict[str, str]


def rebuild(
    uri: str | Path,
    bundle: Bundle,
    *,
    batch_size: int = 32,
    read: Read | None = None,
    leave_out: bool = False,
    progress: Progress | None = None,
    storage_options: dict[str, str] | None = None,
) -> Rebuilt:
    """Embed every item of the gallery at `uri` with another bundle, then switch to it.

    Pictures come from the originals that the gallery kept, else from the items' sources: `read` gives the
    bytes of one, by default those of a local file. A file that has changed since is not taken. `leave_out`:
    go on without the items whose picture cannot be had; otherwise nothing is switched.

    The old table stays for those who read it, until the next rebuild or `Gallery.remove_superseded`. Raises
    `GalleryError` for items without a picture, and where another rebuild was faster.
    """
    old = Gallery.open(uri, storage_options=storage_options)
    identity = identity_of(bundle)
    if old.pointer.fingerprint == identity.fingerprint:
        current = Gallery.open(uri, bundle, storage_options=storage_options)
        return Rebuilt(current, current.count(), {})
    work = _Rebuild(str(uri), bundle, identity, old.pointer, read or read_local, batch_size, storage_options)
    work.run(leave_out, progress or (lambda done, total, what: None))
    current = Gallery.open(uri, bundle, storage_options=storage_options)
    return Rebuilt(current, current.count(), work.lost)


def without_picture(uri: str | Path, storage_options: dict[str, str] | None = None) -> str | None:
    """The id of an item that no rebuild can embed, where one of the first few that name no source is such an
    item; None where all of these were kept. Reads no more than a few pictures of a gallery of any size."""
    pointer = Gallery.open(uri, storage_options=storage_options).pointer
    table = Store(str(uri), storage_options).open(pointer.table)
    if table is None:
        return None
    with lance_errors(str(uri)):
        found = table.search().where("source IS NULL").select(["id", "original"]).limit(_LOOKED_AT).to_arrow()
    return next((row["id"] for row in found.to_pylist() if row["original"] is None), None)


def read_local(source: str) -> bytes:
    """The bytes of a path or a file:// address; nothing is fetched from elsewhere. Raises `OSError`."""
    parts = urlsplit(source)
    if parts.scheme == "file":
        return Path(unquote(parts.path)).read_bytes()
    if "://" in source:
        raise OSError("only files are read again; give a function that reads addresses")
    return Path(source).read_bytes()


class _Rebuild:
    """The old table, the new one, and what was copied from one to the other."""

    def __init__(
        self,
        uri: str,
        bundle: Bundle,
        identity: Identity,
        pointer: Pointer,
        read: Read,
        batch_size: int,
        storage_options: dict[str, str] | None,
    ) -> None:
        self._bundle, self._read, self._batch_size = bundle, read, batch_size
        self._store = Store(uri, storage_options)
        self.notes = Notes(self._store)
        self._old_name = pointer.table
        self._old = self._require(pointer.table)
        prefix = table_prefix(identity)
        unfinished = sorted(name for name in self._store.names() if name.startswith(prefix))
        self.name = unfinished[0] if unfinished else new_table_name(identity)
        self._new = self._store.create(self.name, items_schema(identity.width))
        self._identity = identity
        self._given_up: dict[str, int] = {}
        self._reasons: dict[str, str] = {}

    def run(self, leave_out: bool, progress: Progress) -> None:
        """Copy until there is nothing left to copy, then switch."""
        for _ in range(_PASSES):
            if self._catch_up(progress):
                continue
            self._check_lost(leave_out)
            if self._switched(leave_out, progress):
                self._remove_others()
                return
        raise GalleryError(f"{self._store.uri}: too much is added meanwhile to switch; run the rebuild again")

    def _catch_up(self, progress: Progress) -> bool:
        """Make the new table hold what the old one does; whether there was anything to do."""
        with lance_errors(self._store.uri):
            wanted, have = _revisions(self._old), _revisions(self._new)
            gone = [id for id in have if id not in wanted]
            missing = [
                id
                for id, revision in wanted.items()
                if have.get(id) != revision and self._given_up.get(id) != revision
            ]
            for ids in _batches(gone, 1_000):
                retried(partial(self._new.delete, id_in(ids)))
            done = len(wanted) - len(missing)
            for ids in _batches(missing, self._batch_size):
                rows = self._embedded(ids)
                if rows.num_rows:
                    upsert(self._new, "id", rows)
                done += len(ids)
                progress(done, len(wanted), ids[-1])
        self._given_up = {id: revision for id, revision in self._given_up.items() if id in wanted}
        return bool(gone or missing)

    def _switched(self, leave_out: bool, progress: Progress) -> bool:
        """Freeze the pointer, copy the last rows, switch; False where that took too long, or writers won."""
        pointer = self.notes.settled()
        if pointer is None or pointer.table != self._old_name:
            raise GalleryError(
                f"{self._store.uri}: another rebuild was faster; open the gallery to see for which bundle"
            )
        frozen = pointer.frozen(_FROZEN_SECONDS)
        if not self.notes.switch(pointer, frozen):
            return False
        try:
            self._catch_up(progress)
            self._check_lost(leave_out)
            return self.notes.switch(frozen, Pointer.to(self.name, self._identity))
        finally:
            self.notes.switch(frozen, pointer)  # does nothing after the switch above

    def _check_lost(self, leave_out: bool) -> None:
        if self._given_up and not leave_out:
            id, reason = next(iter(self.lost.items()))
            raise GalleryError(
                f"{self._store.uri}: {len(self.lost):,} of its items cannot be embedded again, "
                f"{id!r} for one: {reason}; nothing was switched"
            )

    def _remove_others(self) -> None:
        """Remove what earlier rebuilds left, but not the table that was current until now."""
        for name in self._store.names():
            if name.startswith("items_") and name not in (self.name, self._old_name):
                self._store.drop(name)

    @property
    def lost(self) -> dict[str, str]:
        """id -> why, of items that are not in the new table."""
        return {id: self._reasons[id] for id in self._given_up}

    def _embedded(self, ids: list[str]) -> Any:
        """Rows of the old table with vectors of the new bundle; without those that are lost."""
        names = [field.name for field in self._old.schema if field.name != "vector"]
        rows = self._old.search().where(id_in(ids)).select(names).limit(len(ids)).to_arrow().to_pylist()
        items, good = [], []
        for row in rows:
            try:
                items.append(NewItem(row["id"], self._original(row)))
                good.append(row)
            except (OSError, CompressorError) as error:
                self._give_up(row, _reason(error))
        vectors = embed(self._bundle, items, self._batch_size)
        whole = np.flatnonzero(np.isfinite(vectors).all(axis=1)).tolist()
        for place in set(range(len(good))) - set(whole):
            self._give_up(good[place], "the picture cannot be decoded")
        return as_table([good[place] for place in whole], vectors[whole], self._identity.width)

    def _give_up(self, row: dict[str, Any], reason: str) -> None:
        self._given_up[row["id"]], self._reasons[row["id"]] = row["revision"], reason

    def _original(self, row: dict[str, Any]) -> bytes:
        if row["original"] is not None:
            return bytes(row["original"])
        if row["source"] is None:
            raise BadImageError("neither its original nor its source was kept")
        data = self._read(row["source"])
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise BadImageError(f"{row['source']} is not the file that was added")
        return data

    def _require(self, name: str) -> Table:
        table = self._store.open(name)
        if table is None:
            raise GalleryError(f"{self._store.uri}: damaged, its table {name} is missing")
        return table


def _revisions(table: Table) -> dict[str, int]:
    rows = column_table(table, ["id", "revision"])
    return dict(zip(rows["id"].to_pylist(), rows["revision"].to_pylist(), strict=True))


def _batches(ids: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'its source'} cannot be read: {error.strerror or error}"
    return str(error)
