"""The galleries that are served: opened when first asked for, off the loop, told of in HTTP's words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from compressor.errors import (
    CompressorError,
    DataError,
    FilterError,
    GalleryMismatchError,
    MissingDependencyError,
    MissingResourceError,
)
from compressor.runtime import Bundle
from serving.errors import ApiError, placeless, wrong
from serving.models import Model, Models
from serving.rebuilding import Job, Rebuilding
from serving.settings import Settings
from serving.upkeep import Pace, Upkeep

Answer = TypeVar("Answer")

_READERS, _WRITERS = 8, 4
"""Threads. Writers wait for commits of others, and for a rebuild that switches; no search waits for them."""
_LOOK = 1.0
"""Seconds after which an open gallery is asked whether a rebuild has replaced it."""


@dataclass
class _Held:
    """An open gallery, and when it was last known to be the current one."""

    gallery: Any
    known: float


class Galleries:
    """One gallery for each model that embeds: where the settings say, or beside the model's bundle."""

    def __init__(self, models: Models, settings: Settings, pace: Pace | None = None) -> None:
        """`pace`: when they are cared for."""
        self._models, self._settings = models, settings
        # An entry goes with its model, when the last request that holds one that was reloaded has ended.
        self._held: WeakKeyDictionary[Model, _Held] = WeakKeyDictionary()
        self._latest: dict[str, Any] = {}
        self._opening = asyncio.Lock()
        self._readers = ThreadPoolExecutor(_READERS, "gallery-read")
        self._writers = ThreadPoolExecutor(_WRITERS, "gallery-write")
        self._upkeep = Upkeep(pace)
        self._rebuilding = Rebuilding(models, self._place, self._upkeep.after)

    async def of(self, model: Model, deadline: float) -> Any:
        """The gallery of a model. Raises `ApiError` 409 for one of another bundle, 501 without LanceDB."""
        async with self._opening:
            held = self._held.get(model)
            if held is None:
                held = await self._first(model, deadline)
            elif time.monotonic() > held.known + _LOOK:
                await self._renew(held, model, deadline)
        return held.gallery

    async def whatever_is_there(self, model: Model, deadline: float) -> Any:
        """The gallery at the model's place, to be looked at only, of whichever bundle it is.

        Raises `ApiError` 404 where there is none.
        """
        return await self.read(deadline, self._opened, model, False)

    async def read(self, deadline: float, work: Callable[..., Answer], *given: Any, **named: Any) -> Answer:
        """Run a gallery's work in a thread until the deadline. Raises `ApiError` for whatever it refuses."""
        return await self._run(self._readers, deadline, partial(work, *given, **named))

    async def write(self, deadline: float, work: Callable[..., Answer], *given: Any) -> Answer:
        """The same for work that changes a gallery. What the deadline cuts short may yet be done."""
        return await self._run(self._writers, deadline, partial(work, *given))

    async def change(self, deadline: float, gallery: Any, work: Callable[..., Answer], *given: Any) -> Answer:
        """The same for work that makes a gallery grow or shrink, after which it may want some care."""

        def done() -> Answer:
            try:
                return work(*given)
            finally:
                self._upkeep.after(gallery)

        return await self.write(deadline, done)

    async def rebuild(self, model: Model, leave_out: bool, deadline: float) -> Job:
        """Start a rebuild for the model, unless one is under way: that one. Raises `ApiError`."""
        return await self.write(deadline, self._rebuilding.start, model, leave_out)

    async def rebuilt(self, model: Model, deadline: float) -> Job | None:
        """The rebuild that is under way at the model's place, or the last one. Raises `ApiError`."""
        return await self.read(deadline, self._rebuilding.job, model)

    def close(self) -> None:
        """Stop upkeep, and a rebuild between two batches, and end all threads. What was acknowledged is
        there."""
        self._upkeep.close()
        self._rebuilding.close()
        for threads in (self._readers, self._writers):
            threads.shutdown(cancel_futures=True)

    def _place(self, model: Model) -> str:
        from compressor.gallery.gallery import place_beside

        return self._settings.gallery or str(place_beside(model.folder))

    def _opened(self, model: Model, bound: bool = True) -> Any:
        from compressor.gallery.gallery import Gallery

        assert isinstance(model.opened, Bundle)
        if not bound:
            return Gallery.open(self._place(model), exact_below=self._upkeep.exact_below)
        return Gallery.open(
            self._place(model),
            model.opened,
            create=True,
            exact_below=self._upkeep.exact_below,
            keep_originals=self._settings.keep_originals,
        )

    async def _first(self, model: Model, deadline: float) -> _Held:
        """Open a model's gallery; after a reload the object that was open, if it is the same gallery."""
        gallery = await self.read(deadline, self._opened, model)
        last = self._latest.get(gallery.uri)
        if last is not None and last.pointer == gallery.pointer:
            gallery = last  # which has read the vectors already
        self._latest[gallery.uri] = gallery
        held = self._held[model] = _Held(gallery, time.monotonic())
        self._upkeep.after(gallery)
        return held

    async def _renew(self, held: _Held, model: Model, deadline: float) -> None:
        """Follow a rebuild, and what others have added. A rebuild for another bundle leaves the old items to
        be read and none to be changed."""
        if await self.read(deadline, lambda: held.gallery.superseded):
            with suppress(ApiError):
                held.gallery = await self.read(deadline, self._opened, model)
        self._upkeep.after(held.gallery)
        held.known = time.monotonic()

    async def _run(self, threads: ThreadPoolExecutor, deadline: float, work: Callable[[], Answer]) -> Answer:
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(
                loop.run_in_executor(threads, work), max(0.0, deadline - time.monotonic())
            )
        except TimeoutError as error:
            raise ApiError(504, "deadline", "the deadline passed before the gallery had answered") from error
        except CompressorError as error:
            message = str(error)
            for place in {self._place(model) for model in self._models}:
                message = placeless(message, place)
            raise _told(error, message) from error


def _told(error: CompressorError, message: str) -> ApiError:
    if isinstance(error, GalleryMismatchError):
        return ApiError(409, "other_bundle", message)
    if isinstance(error, FilterError):
        return ApiError(400, "bad_filter", message, "filter")
    if isinstance(error, MissingResourceError):
        return ApiError(404, "no_gallery", message)
    if isinstance(error, MissingDependencyError):
        return ApiError(501, "no_gallery", message)
    if isinstance(error, DataError):
        return wrong(message)
    return ApiError(503, "gallery_failed", message, headers={"Retry-After": "1"})
