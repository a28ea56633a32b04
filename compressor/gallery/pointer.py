"""Which table of a gallery is the current one, and of which embedding space: a table of JSON by key."""

from __future__ import annotations

import json
import secrets
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from compressor.errors import GalleryError, GalleryMismatchError
from compressor.gallery.identity import Identity
from compressor.gallery.store import (
    Store,
    Table,
    insert_missing,
    key_field,
    lance_errors,
    quoted,
    retried,
    upsert,
)

SCHEMA_VERSION = 1
POINTER = "gallery"
_CURRENT = "current"


@dataclass(frozen=True, slots=True)
class Pointer:
    """The current generation. Replaced in one commit: a reader sees the old one or the new one."""

    schema_version: int
    table: str
    fingerprint: str
    width: int
    bundle: str
    precision: str
    created_by: str
    created_at: str
    frozen_until: float = 0.0
    """Seconds since 1970: until then writers wait, since a rebuild is about to switch. 0 for no rebuild."""

    @classmethod
    def to(cls, table: str, identity: Identity) -> Pointer:
        """A pointer to a table of vectors of this space."""
        return cls(
            schema_version=SCHEMA_VERSION,
            table=table,
            fingerprint=identity.fingerprint,
            width=identity.width,
            bundle=identity.name,
            precision=identity.precision,
            created_by=_version(),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def frozen(self, seconds: float) -> Pointer:
        """The same, and writers wait for at most so long."""
        return replace(self, frozen_until=time.time() + seconds)

    def check(self, uri: str, identity: Identity) -> None:
        """Raises `GalleryMismatchError` where vectors of `identity` do not belong here."""
        if self.fingerprint != identity.fingerprint:
            raise GalleryMismatchError(
                f"{uri}: this gallery holds vectors of {self.bundle} at {self.precision} "
                f"({self.fingerprint[:12]}), not of {identity.name} at {identity.precision} "
                f"({identity.fingerprint[:12]}); open it with its own bundle or rebuild it for this one"
            )


def new_table_name(identity: Identity) -> str:
    """A name that no other table has, which says what space it is for."""
    return f"{table_prefix(identity)}{secrets.token_hex(4)}"


def table_prefix(identity: Identity) -> str:
    """How the names of all tables for this space start."""
    return f"items_{identity.fingerprint[:16]}_"


class Notes:
    """The gallery's small facts, each a JSON object under a key."""

    def __init__(self, store: Store, create: bool = False) -> None:
        self._store = store
        found = store.open(POINTER)
        self._table: Table | None = store.create(POINTER, _schema()) if found is None and create else found

    def read(self, key: str) -> dict[str, Any] | None:
        """What is noted under a key. Raises `GalleryError` where it is no JSON object."""
        if self._table is None:
            return None
        with lance_errors(self._store.uri):
            rows = self._table.search().where(f"key = {quoted(key)}").limit(1).to_arrow()["value"].to_pylist()
            found = json.loads(rows[0]) if rows else None
        if found is not None and not isinstance(found, dict):
            raise GalleryError(f"{self._store.uri}: damaged, its note {key!r} is no object")
        return found

    def write(self, key: str, content: dict[str, Any]) -> None:
        """Replace what is noted under a key."""
        with lance_errors(self._store.uri):
            upsert(self._table, "key", _row(key, content))

    def write_first(self, key: str, content: dict[str, Any]) -> None:
        """Note something unless another process was first."""
        with lance_errors(self._store.uri):
            insert_missing(self._table, "key", _row(key, content))

    def pointer(self) -> Pointer | None:
        """The current generation, None for a place without a gallery.

        Raises `GalleryError` for one that a newer version wrote, or that is damaged.
        """
        found = self.read(_CURRENT)
        if found is None:
            return None
        written = found.get("schema_version")
        if isinstance(written, int) and written > SCHEMA_VERSION:
            raise GalleryError(
                f"{self._store.uri}: written by a newer version (schema {written}, this one reads up to "
                f"{SCHEMA_VERSION}); upgrade with `pip install -U compressor`"
            )
        names = {field.name for field in fields(Pointer)}
        if not names <= found.keys():
            raise GalleryError(
                f"{self._store.uri}: damaged, its pointer lacks {', '.join(names - found.keys())}"
            )
        return Pointer(**{name: found[name] for name in names})

    def settled(self) -> Pointer | None:
        """The current generation when no rebuild is switching; waits for one, and thaws what one has left."""
        while (pointer := self.pointer()) is not None and pointer.frozen_until:
            left = pointer.frozen_until - time.time()
            if left <= 0:
                self.switch(pointer, replace(pointer, frozen_until=0.0))
            else:
                time.sleep(min(0.05, left))
        return pointer

    def start(self, pointer: Pointer) -> None:
        """Point there, unless the gallery points somewhere already."""
        self.write_first(_CURRENT, asdict(pointer))

    def switch(self, old: Pointer, new: Pointer) -> bool:
        """Point to `new` if the gallery still points to `old`; False where someone else was first."""
        return self.replace(_CURRENT, asdict(old), asdict(new))

    def replace(self, key: str, old: dict[str, Any], new: dict[str, Any]) -> bool:
        """Note `new` where `old` is still noted; False where someone else was first."""
        values = {"value": _text(new)}
        where = f"key = {quoted(key)} AND value = {quoted(_text(old))}"
        with lance_errors(self._store.uri):
            changed = retried(lambda: self._require().update(where=where, values=values))
        return bool(changed.rows_updated)

    def tidy(self, keep: timedelta) -> None:
        """Merge what the changes have left, and remove files that no reader needs."""
        with lance_errors(self._store.uri):
            retried(lambda: self._require().optimize(cleanup_older_than=keep))

    def _require(self) -> Table:
        assert self._table is not None
        return self._table


def _version() -> str:
    with suppress(PackageNotFoundError):
        return f"compressor {version('compressor')}"
    return "compressor"


def _schema() -> Any:
    import pyarrow

    return pyarrow.schema([key_field("key"), pyarrow.field("value", pyarrow.string())])


def _row(key: str, content: dict[str, Any]) -> Any:
    import pyarrow

    return pyarrow.table({"key": [key], "value": [_text(content)]}, schema=_schema())


def _text(content: dict[str, Any]) -> str:
    """As it is stored, and compared with what is."""
    return json.dumps(content, sort_keys=True, allow_nan=False)
