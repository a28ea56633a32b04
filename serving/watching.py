"""A folder that holds a new bundle is noticed, and the bundle served as soon as it is whole."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from pathlib import Path

from compressor.files import sha256_file
from compressor.runtime.schema import MANIFEST
from serving.models import Model, Models
from serving.settings import Settings

log = logging.getLogger("compressor.serving")

Stamp = frozenset[tuple[str, int, int, int]]
"""Name, number on the disk, size and time of change of every file of a folder."""
_TOGETHER = 1.0
"""Seconds between looks where several workers must serve the same and nobody said otherwise."""


def seconds_between(settings: Settings) -> float:
    """How often to look; 0 for never.

    A request to reload reaches one of several workers, and a worker that ended is started again with what the
    folder holds then. Only by following the folder do all serve the same.
    """
    return settings.watch or (_TOGETHER if settings.workers > 1 else 0.0)


class Watcher:
    """Looks at the folders of all models in a thread. Call `close` to end it."""

    def __init__(self, models: Models, seconds: float) -> None:
        """`seconds` between two looks; 0: no thread, and `look` is for the caller to call."""
        self._models = models
        self._seen: dict[str, Stamp] = {}
        self._refused: dict[str, str] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(seconds,), name="watcher", daemon=True)
        if seconds:
            self._thread.start()

    def close(self) -> None:
        """Look no more. A bundle that is being opened is not waited for."""
        self._ended.set()

    def look(self) -> None:
        """Reload every model whose folder holds another bundle than is served.

        One that cannot be served is tried again when a file of its folder changes, and logged once.
        """
        for model in self._models:
            stamp = stamp_of(model.folder)
            if stamp != self._seen.get(model.name):
                self._seen[model.name] = stamp
                self._follow(model)

    def _run(self, seconds: float) -> None:
        while not self._ended.wait(seconds):
            try:
                self.look()
            except Exception:
                log.exception("the bundles' folders could not be looked at")

    def _follow(self, model: Model) -> None:
        try:
            found = sha256_file(model.folder / MANIFEST)
        except OSError:  # between two renames, or gone for good: what is served stays
            return
        if found == model.sha256:
            return
        try:
            fresh = self._models.reload(model.name).result()
        except Exception as error:  # whatever a damaged file raises, the old bundle serves on
            if not self._ended.is_set() and self._refused.get(model.name) != found:
                self._refused[model.name] = found
                log.warning("%s: the new bundle is not served: %s", model.name, error)
        else:
            log.info("%s: now serves bundle %s", model.name, fresh.sha256[:12])


def stamp_of(folder: Path) -> Stamp:
    """All files below a folder as they are now; what vanishes meanwhile is left out."""
    found = set()
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            with suppress(OSError):
                state = path.stat()
                found.add((str(path), state.st_ino, state.st_size, state.st_mtime_ns))
    return frozenset(found)
