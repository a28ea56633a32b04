"""Upkeep of the galleries that are served, behind all requests, by one process at a time."""

from __future__ import annotations

import logging
import subprocess
import threading
from dataclasses import dataclass
from typing import Any

from compressor.errors import CompressorError

log = logging.getLogger("compressor.serving")

_END = 10.0


@dataclass(frozen=True)
class Pace:
    """When a gallery is cared for; None stands for the gallery's own figures.

    `exact_below`: items from which on there is an index; `pieces`: new ones that are merged. `look`: seconds
    between two looks whether anything is due, `rest` after upkeep, `pause` after upkeep that failed.
    """

    exact_below: int | None = None
    pieces: int | None = None
    look: float = 1.0
    rest: float = 30.0
    pause: float = 300.0


class Upkeep:
    """Looks after galleries that were used, in a thread of its own. Safe to call from several threads."""

    def __init__(self, pace: Pace | None = None) -> None:
        self._pace = pace or Pace()
        self._used: dict[str, Any] = {}
        self._seen: dict[str, tuple[str, int]] = {}
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    @property
    def exact_below(self) -> int:
        """Items from which on a gallery is searched with an index."""
        from compressor.gallery.gallery import EXACT_BELOW

        return EXACT_BELOW if self._pace.exact_below is None else self._pace.exact_below

    @property
    def pieces(self) -> int:
        """New pieces from which on they are merged."""
        from compressor.gallery.upkeep import PIECES

        return PIECES if self._pace.pieces is None else self._pace.pieces

    def after(self, gallery: Any) -> None:
        """Look at an open gallery soon; returns at once."""
        with self._changed:
            if self._ended.is_set():
                return
            self._used[gallery.uri] = gallery
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="upkeep", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End what is under way: what is not done is done by whoever opens the gallery next."""
        with self._changed:
            self._ended.set()
            self._changed.notify()
            if self._process is not None:
                self._process.terminate()
        if self._thread is not None:
            self._thread.join(_END)

    def _work(self) -> None:
        while not self._ended.is_set():
            self._ended.wait(self._turn())

    def _turn(self) -> float:
        """Wait for a gallery and look after it; the seconds to rest."""
        with self._changed:
            while not self._used and not self._ended.is_set():
                self._changed.wait()
            if self._ended.is_set():
                return 0.0
            gallery = self._used.pop(next(iter(self._used)))
        try:
            return self._look(gallery)
        except CompressorError as error:
            log.warning("the gallery's upkeep is put off: %s", error)
        except Exception:
            log.exception("the gallery's upkeep is put off")
        return self._pace.pause

    def _look(self, gallery: Any) -> float:
        """Do what is due, if anything is."""
        state = (gallery.pointer.table, gallery.version)
        if self._seen.get(gallery.uri) == state:
            return self._pace.look
        if gallery.due(self.pieces):
            failed = self._keep(gallery.uri)
            self.after(gallery)  # which may have grown meanwhile
            if failed:
                log.warning("the gallery's upkeep is put off: %s", failed)
            return self._pace.pause if failed else self._pace.rest
        self._seen[gallery.uri] = state
        return self._pace.look

    def _keep(self, uri: str) -> str:
        """Wait for a process that does it; why it failed, or nothing."""
        from compressor.gallery.keeper import start

        with self._changed:
            if self._ended.is_set():
                return ""
            process = self._process = start(uri, self.exact_below, self.pieces)
        with process:
            assert process.stderr is not None
            said = process.stderr.read().decode(errors="replace").strip()
        with self._changed:
            self._process = None
        if process.returncode == 0 or self._ended.is_set():
            return ""
        return said.splitlines()[-1] if said else f"it ended with {process.returncode}"
