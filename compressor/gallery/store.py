"""LanceDB as the gallery uses it: tables, commits tried again on conflict, errors in one sentence."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from compressor.errors import CompressorError, GalleryError, MissingDependencyError
from compressor.files import disk_full_named

if TYPE_CHECKING:
    import pyarrow

T = TypeVar("T")
Table = Any
"""A `lancedb.table.Table`; the package ships no types for what is used here."""

_KEY = {"lance-schema:unenforced-primary-key": "true"}
"""Makes commits of two processes that insert the same key conflict, instead of leaving it there twice."""
_ATTEMPTS = 12
_LONGEST_WAIT = 2.0
_CONFLICTS = ("conflict", "please retry", "too many concurrent", "preempted by concurrent")


class Store:
    """A folder or an address that holds LanceDB tables. Every read sees what others have committed."""

    def __init__(self, uri: str, storage_options: dict[str, str] | None = None) -> None:
        lancedb = _lancedb()
        self.uri = uri
        with lance_errors(uri):
            self._database = lancedb.connect(
                uri, storage_options=storage_options, read_consistency_interval=timedelta(0)
            )

    def open(self, name: str) -> Table | None:
        """A table, or None where there is none of this name."""
        try:
            return self._database.open_table(name)
        except (ValueError, FileNotFoundError) as error:
            if "not found" in str(error).lower():
                return None
            raise GalleryError(_sentence(self.uri, error)) from error
        except Exception as error:
            raise GalleryError(_sentence(self.uri, error)) from error

    def create(self, name: str, schema: pyarrow.Schema) -> Table:
        """A new empty table, or the one that another process has made meanwhile."""
        with lance_errors(self.uri):
            return retried(lambda: self._database.create_table(name, schema=schema, exist_ok=True))

    def drop(self, name: str) -> None:
        """Remove a table, if it is there."""
        with lance_errors(self.uri):
            self._database.drop_table(name, ignore_missing=True)

    def names(self) -> list[str]:
        """All tables."""
        with lance_errors(self.uri):
            found = self._database.list_tables(limit=1_000)
            return list(getattr(found, "tables", found))


def is_local(uri: str) -> bool:
    """True for a path, False for an address such as s3://bucket/gallery."""
    return "://" not in uri


def folder_holds_something_else(uri: str, table: str) -> bool:
    """True for a local folder with files in it but without this table."""
    path = Path(uri)
    if not is_local(uri) or not path.exists():
        return False
    return not path.is_dir() or (any(path.iterdir()) and not (path / f"{table}.lance").exists())


def key_field(name: str) -> pyarrow.Field:
    """A column of strings in which a value stands at most once."""
    import pyarrow

    return pyarrow.field(name, pyarrow.string(), nullable=False, metadata=_KEY)


def upsert(table: Table, key: str, rows: pyarrow.Table) -> None:
    """Insert rows, or replace those with the same key: all of them in one commit, or none."""
    retried(
        lambda: table.merge_insert(key).when_matched_update_all().when_not_matched_insert_all().execute(rows)
    )


def insert_missing(table: Table, key: str, rows: pyarrow.Table) -> None:
    """Insert those rows whose key is not there yet, in one commit."""
    retried(lambda: table.merge_insert(key).when_not_matched_insert_all().execute(rows))


def quoted(text: str) -> str:
    """A string literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def id_in(ids: Sequence[str]) -> str:
    """The condition of SQL that a row's id is one of these."""
    return f"id IN ({', '.join(map(quoted, ids))})"


def retried(commit: Callable[[], T]) -> T:
    """Call `commit` again, after a random and growing wait, while another process's commit came between.

    LanceDB tries several times by itself, but not for every pair of operations.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return commit()
        except Exception as error:
            if attempt == _ATTEMPTS - 1 or not _is_conflict(error):
                raise
        time.sleep(random.uniform(0.01, min(_LONGEST_WAIT, 0.05 * 2**attempt)))
    raise AssertionError("unreachable")


@contextmanager
def lance_errors(uri: str) -> Iterator[None]:
    """Turn what LanceDB raises inside the block into one sentence that starts with the gallery's place."""
    try:
        with disk_full_named(Path(uri)):
            yield
    except CompressorError:
        raise
    except (RuntimeError, OSError, ValueError) as error:
        raise GalleryError(_sentence(uri, error)) from error


def _is_conflict(error: Exception) -> bool:
    text = str(error).lower()
    return any(words in text for words in _CONFLICTS)


def _sentence(uri: str, error: Exception) -> str:
    said = str(error).strip().splitlines() or [type(error).__name__]
    return f"{uri}: the gallery cannot be read or written: {said[0].split(', /')[0]:.300}"


def _lancedb() -> Any:
    os.environ.setdefault("LANCE_LOG", "error")  # its warnings are about what is tried again here
    try:
        import lancedb
    except ImportError as error:
        raise MissingDependencyError(
            "a gallery needs LanceDB; install it with `pip install 'compressor[gallery]'`"
        ) from error
    return lancedb
