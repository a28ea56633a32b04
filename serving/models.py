"""The models that are served: bundles, each with its queue; one can take another's place while it works."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressor.errors import BadImageError, BundleError
from compressor.files import sha256_file
from compressor.runtime import Bundle, Writer
from compressor.runtime.manifest import read_manifest, reading
from compressor.runtime.schema import MANIFEST, BundleManifest
from compressor.runtime.session import usable_cores
from serving.batching import Engine, OverloadedError
from serving.canary import fault_of
from serving.decoding import Decoders
from serving.described import described
from serving.errors import ApiError, of_engine, of_image, overloaded
from serving.lanes import lanes_of
from serving.mailbox import Mailbox
from serving.metrics import Metrics
from serving.settings import Settings

_CHECKS = 5.0
"""Seconds that a check of readiness may hold a model, beside the requests and their deadline."""
Rows = NDArray[Any]
Item = Rows | ApiError
"""A row, or what is wrong with the item that it should have come from."""


@dataclass(frozen=True, eq=False)
class Model:
    """One bundle, open and queued for. `opened`: a `Bundle` or a `Writer`."""

    name: str
    folder: Path
    opened: Bundle | Writer
    sha256: str
    engine: Engine

    def described(self) -> dict[str, Any]:
        """The model as `/models` shows it."""
        return described(self)


class Models:
    """All models by name, the first of which answers requests that name none; and the threads that decode."""

    def __init__(
        self, folders: Mapping[str, Path], settings: Settings, metrics: Metrics | None = None
    ) -> None:
        """Open every bundle. Raises `BundleError` for one that cannot be."""
        self.settings = settings
        self.metrics = metrics
        self._threads = settings.threads or max(1, usable_cores() // settings.workers)
        self._decoders = Decoders(settings.decoders or self._threads, settings.queue)
        self._mailbox = Mailbox()
        self._reloads = ThreadPoolExecutor(1, "reload")
        self._retired: dict[Engine, threading.Timer] = {}
        self._models = {name: self._open(name, folder) for name, folder in folders.items()}

    def __iter__(self) -> Any:
        return iter(self._models.values())

    def get(self, name: str | None) -> Model:
        """The model of a request. Raises `ApiError` 404 for a name that is not served."""
        if name is None:
            return next(iter(self._models.values()))
        try:
            return self._models[name]
        except KeyError as error:
            served = ", ".join(self._models)
            raise ApiError(
                404, "no_such_model", f"'{name[:80]}' is not served; there is {served}", "model"
            ) from error

    def reload(self, name: str) -> Future[Model]:
        """Open the bundle in the model's folder again and put it in its place, one reload after another.

        Requests that are under way end with the old model. The future raises `BundleError`, and leaves the
        old one in place, for a bundle that cannot be opened or does not answer a canary.
        """
        return self._reloads.submit(self._reload, self.get(name).name)

    def _reload(self, name: str) -> Model:
        old = self._models[name]
        fresh = self._models[name] = self._open(name, old.folder, checked=True)
        self._retire(old.engine)
        return fresh

    def _retire(self, engine: Engine) -> None:
        """Close an engine when no request can want it any more: those that know it have their deadline."""

        def close() -> None:
            engine.close()
            self._retired.pop(engine, None)

        timer = threading.Timer(max(self.settings.deadline, _CHECKS) + 1, close)
        timer.daemon = True
        self._retired[engine] = timer
        timer.start()

    def timed(self, stage: str, model: Model) -> AbstractContextManager[None]:
        """Time a stage of a request for the metrics, where there are any."""
        return nullcontext() if self.metrics is None else self.metrics.stage(stage, model.name)

    def close(self) -> None:
        """Answer what waits, then end all threads."""
        self._reloads.shutdown(cancel_futures=True)
        for timer in list(self._retired.values()):
            timer.cancel()
        for engine in [*self._retired, *(model.engine for model in self)]:
            engine.close()
        self._decoders.shutdown()

    def _open(self, name: str, folder: Path, checked: bool = False) -> Model:
        """`checked`: by a canary, before anything else is asked of it."""
        settings = self.settings
        writes = not isinstance(read_manifest(folder), BundleManifest)
        opens = Writer.open if writes else Bundle.open
        with reading(folder):
            sha256 = sha256_file(folder / MANIFEST)
            opened: Bundle | Writer = opens(
                folder,
                precision=settings.precision,
                threads=self._threads,
                low_memory=settings.low_memory,
                fast_decode=settings.fast_decode,
            )
            if sha256_file(folder / MANIFEST) != sha256:
                raise BundleError(f"{folder}: was replaced while it was read; reload it again")
        if checked and (fault := fault_of(opened)):
            raise BundleError(f"{folder}: {fault}")
        observe = None if self.metrics is None else self.metrics.batches(name, lambda: self._decoders.backlog)
        lanes = lanes_of(opened, settings.max_batch, lambda: self._decoders.backlog > 0)
        engine = Engine(lanes, settings.queue, observe=observe)
        return Model(name, folder, opened, sha256, engine)

    def check_room(self) -> None:
        """Raise `ApiError` 429 where not one picture more can wait; asked before a picture is even read."""
        try:
            self._decoders.check_room()
        except OverloadedError as error:
            raise overloaded(error) from error

    async def pixels(self, model: Model, files: Sequence[bytes]) -> list[Item]:
        """Every file decoded for the model, in the threads for it; what is wrong with one is its own.

        Raises `ApiError` 429 where too many wait already. A caller that goes away takes its files out.
        """
        try:
            decoding = self._decoders.submit(partial(self._decoded, model), files)
        except OverloadedError as error:
            raise overloaded(error) from error
        try:
            return [await self._mailbox.result(future) for future in decoding]
        finally:
            for future in decoding:
                future.cancel()

    def _decoded(self, model: Model, file: bytes) -> Item:
        try:
            with self.timed("decode", model):
                return model.opened.preprocessor.images([file], self.settings.max_pixels)[0]
        except BadImageError as error:
            return of_image(error)

    async def run(self, model: Model, lane: str, rows: Rows, deadline: float) -> Rows:
        """Rows through a lane of the model. Raises `ApiError` 429, 503 or 504; a caller that goes away takes
        its rows out of the queue."""
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                return await self._mailbox.result(model.engine.submit(lane, rows, deadline))
        except BaseException as error:
            if (
                self.metrics is not None
            ):  # rows that leave the queue without a batch: replicas follow the count
                self.metrics.waiting(model.name, model.engine.waiting)
            answer = of_engine(error)
            if answer is None:
                raise
            raise answer from error

    async def run_items(self, model: Model, lane: str, items: Sequence[Item], deadline: float) -> list[Item]:
        """The same for items of which some went wrong already: their problems stay in their places."""
        good = {index: item for index, item in enumerate(items) if not isinstance(item, ApiError)}
        answers: list[Item] = list(items)
        if good:
            rows = await self.run(model, lane, _stacked(list(good.values())), deadline)
            for index, row in zip(good, rows, strict=True):
                answers[index] = row
        return answers


def _stacked(rows: list[Rows]) -> Rows:
    return rows[0][None] if len(rows) == 1 else np.stack(rows)
