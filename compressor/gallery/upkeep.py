"""Upkeep of a gallery that grows: whether it is due, and whose turn it is.

Every call that adds leaves a piece, every change a version, and an index knows nothing of what comes later.
Whether `optimize` is worth it is told by the table's own counts, in a few milliseconds. All who share a
gallery leave it to one of them: whoever has taken a lease. It runs out by itself where its owner is killed.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from compressor.errors import CompressorError
from compressor.gallery.index import unindexed
from compressor.gallery.pointer import Notes
from compressor.gallery.store import Table

PIECES = 64
"""New pieces that are worth merging."""
_CHANGES = 8
"""Times as many changes are worth it whatever they were: deletes leave versions and no pieces."""
_SHARE = 8
"""Merging copies small pieces whole: it waits until one row of so many lies outside the largest piece."""
_UNINDEXED = 10
"""One row of so many outside the index is worth extending it."""
_LEASE, _RENEW = 60.0, 15.0
_KEY = "upkeep"


def is_due(table: Table, kept: dict[str, Any] | None, exact_below: int, pieces: int = PIECES) -> bool:
    """Whether a table is worth the upkeep. `kept`: what `state` was after the last one."""
    stats, count = table.stats()["fragment_stats"], int(table.count_rows())
    if count >= exact_below and unindexed(table) >= max(1, count // _UNINDEXED):
        return True
    before = kept or {"version": 0, "pieces": 0}
    new = int(stats["num_small_fragments"]) - before["pieces"]
    outside = count - int(stats["lengths"]["max"])
    if new >= pieces and _SHARE * outside >= count:
        return True
    return int(table.version) - before["version"] >= _CHANGES * pieces


def state(table: Table) -> dict[str, Any]:
    """What is noted after upkeep: only what comes after it counts the next time."""
    return {
        "version": int(table.version),
        "pieces": int(table.stats()["fragment_stats"]["num_small_fragments"]),
    }


def is_taken(notes: Notes) -> bool:
    """Whether someone is at it."""
    lease = notes.read(_KEY)
    return lease is not None and lease["until"] > time.time()


@contextmanager
def lease(notes: Notes) -> Iterator[bool]:
    """The right to do the upkeep, renewed until the block ends; False where another process has it."""
    mine = {"by": secrets.token_hex(8), "until": time.time() + _LEASE}
    before = notes.read(_KEY)
    if before is None:
        notes.write_first(_KEY, mine)
        taken = notes.read(_KEY) == mine
    else:
        taken = before["until"] <= time.time() and notes.replace(_KEY, before, mine)
    if not taken:
        yield False
        return
    ended = threading.Event()

    def renew() -> None:
        nonlocal mine
        while not ended.wait(_RENEW):
            with suppress(CompressorError):
                later = mine | {"until": time.time() + _LEASE}
                if notes.replace(_KEY, mine, later):
                    mine = later

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield True
    finally:
        ended.set()
        thread.join()
        notes.replace(_KEY, mine, mine | {"until": 0.0})
