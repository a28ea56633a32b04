"""Rebuilds of galleries behind a request that does not wait for them: one at a time for each place.

How far one is stands in the gallery itself, where every worker sees it.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from compressor.errors import CompressorError
from compressor.runtime import Bundle
from serving.errors import ApiError, placeless
from serving.models import Model, Models

log = logging.getLogger("compressor.serving")

_NOTE = "rebuild"
_BATCH = 8
"""Pictures embedded at a time: requests wait for the model no longer than for so many."""
_WRITE_EVERY = 5.0
_SILENT = 60.0
"""Seconds without a word after which the process that rebuilt is taken for dead."""
_JOIN = 10.0


def _by() -> str:
    return f"{socket.gethostname()} {os.getpid()}"


@dataclass(frozen=True)
class Job:
    """A rebuild: `done` of `of` items. `left_out`: how many items' pictures could not be had."""

    status: Literal["running", "done", "failed"]
    done: int
    of: int
    left_out: int = 0
    message: str | None = None
    at: float = field(default_factory=time.time)
    """Seconds since 1970 of these figures."""
    by: str = field(default_factory=_by)
    """Machine and process."""

    @property
    def abandoned(self) -> bool:
        """True for one that runs no more although nobody has said so. Ask it of another process's job."""
        machine, _, process = self.by.rpartition(" ")
        here = machine == socket.gethostname()
        ended = here and (self.by == _by() or not _runs(int(process)))
        return self.status == "running" and (ended or time.time() > self.at + _SILENT)

    def shown(self) -> dict[str, Any]:
        """As the endpoints show it."""
        told: dict[str, Any] = {"status": self.status, "done": self.done, "of": self.of}
        if self.left_out:
            told["left_out"] = self.left_out
        if self.message is not None:
            told["error"] = {"code": "rebuild_failed", "message": self.message, "param": None}
        return told


class _StoppedError(CompressorError):
    """The rebuild is no longer wanted."""


class Rebuilding:
    """All rebuilds of a worker. Safe to call from several threads."""

    def __init__(self, models: Models, place: Callable[[Model], str], after: Callable[[Any], None]) -> None:
        """`after`: told of every gallery that was rebuilt."""
        self._models, self._place, self._after = models, place, after
        self._here: dict[str, Job] = {}
        self._threads: list[threading.Thread] = []
        self._starting = threading.Lock()
        self._closed = False

    def start(self, model: Model, leave_out: bool) -> Job:
        """Begin to embed the gallery at the model's place again; the job that is under way, if one is.

        Raises `ApiError` 409 `no_originals` where the gallery has kept no pictures, and what opening it does.
        """
        from compressor.gallery.gallery import Gallery

        place = self._place(model)
        with self._starting:
            known = self.job(model)
            if known is not None and known.status == "running":
                return known
            gallery = Gallery.open(place)
            if not leave_out and not _is_current(place, model):
                _check_pictures(place)
            job = self._here[place] = Job("running", 0, gallery.count())
            _write(place, job)
            given = (place, model, leave_out)
            thread = threading.Thread(target=self._run, args=given, name="rebuild", daemon=True)
            self._threads = [each for each in self._threads if each.is_alive()] + [thread]
            thread.start()
            return job

    def job(self, model: Model) -> Job | None:
        """The rebuild that is under way at the model's place, in whichever worker, or else the last one."""
        place = self._place(model)
        here = self._here.get(place)
        if here is not None and here.status == "running":
            return here
        noted = _read(place)
        if noted is None or (here is not None and here.at >= noted.at):
            return here
        if noted.abandoned:
            return replace(noted, status="failed", message="the process that rebuilt it has ended; ask again")
        return noted

    def close(self) -> None:
        """Stop between two batches; what is half done is hidden, and gone on with when asked again."""
        self._closed = True
        for thread in self._threads:
            thread.join(_JOIN)

    def _run(self, place: str, model: Model, leave_out: bool) -> None:
        from compressor.gallery.rebuild import rebuild

        assert isinstance(model.opened, Bundle)
        written = time.monotonic()

        def progress(done: int, of: int, _: str) -> None:
            nonlocal written
            if self._closed:
                raise _StoppedError("the service was shut down meanwhile; ask again")
            if self._models.get(model.name).sha256 != model.sha256:
                raise _StoppedError(f"the bundle of '{model.name}' was replaced meanwhile; ask again")
            self._here[place] = Job("running", done, of)
            if time.monotonic() > written + _WRITE_EVERY:
                written = time.monotonic()
                _write(place, self._here[place])

        try:
            built = rebuild(place, model.opened, batch_size=_BATCH, leave_out=leave_out, progress=progress)
            job = Job("done", built.items, built.items, left_out=len(built.lost))
            self._after(built.gallery)
        except Exception as error:  # whatever it is, the old gallery serves on and the sentence is shown
            last = self._here[place]
            job = Job("failed", last.done, last.of, message=placeless(str(error), place))
        try:
            if job.status == "failed" and _is_current(place, model):  # another worker was faster
                job = Job("done", job.of, job.of)
            self._here[place] = job
            _write(place, job)
        except CompressorError as error:
            self._here[place] = job
            log.warning("after a rebuild: %s", error)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # someone else's
        return True
    return True


def _is_current(place: str, model: Model) -> bool:
    from compressor.gallery.gallery import Gallery
    from compressor.gallery.identity import identity_of

    assert isinstance(model.opened, Bundle)
    return Gallery.open(place).pointer.fingerprint == identity_of(model.opened).fingerprint


def _check_pictures(place: str) -> None:
    from compressor.gallery.rebuild import without_picture

    id = without_picture(place)
    if id is not None:
        raise ApiError(
            409,
            "no_originals",
            f"the gallery has kept no picture of '{id[:80]}', and no path to one, from which it could be "
            "embedded again; add the pictures anew, or send leave_out to go on without such items",
        )


def _write(place: str, job: Job) -> None:
    from compressor.gallery.pointer import Notes
    from compressor.gallery.store import Store

    Notes(Store(place)).write(_NOTE, asdict(job))


def _read(place: str) -> Job | None:
    from compressor.gallery.pointer import Notes
    from compressor.gallery.store import Store

    noted = Notes(Store(place)).read(_NOTE)
    names = {field.name for field in fields(Job)}
    return None if noted is None or noted.keys() != names else Job(**noted)
