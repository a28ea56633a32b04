"""The models that are served: bundles, each with its queue; one can take another's place while it works."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressor.errors import BadImageError
from compressor.files import sha256_file
from compressor.runtime import Bundle, Writer
from compressor.runtime.manifest import read_manifest
from compressor.runtime.schema import MANIFEST, BundleManifest
from compressor.runtime.session import usable_cores
from serving.batching import Engine, Lane, OverloadedError
from serving.decoding import Decoders
from serving.errors import ApiError, of_engine, of_image, overloaded
from serving.mailbox import Mailbox
from serving.metrics import Metrics
from serving.settings import Settings

_MOST_TEXTS = 8
"""Texts written together: each holds keys and values for every beam."""
Rows = NDArray[Any]
Item = Rows | ApiError
"""A row, or what is wrong with the item that it should have come from."""


@dataclass(frozen=True)
class Model:
    """One bundle, open and queued for. `opened`: a `Bundle` or a `Writer`."""

    name: str
    folder: Path
    opened: Bundle | Writer
    sha256: str
    engine: Engine

    @property
    def embeds(self) -> bool:
        """False for a model that writes."""
        return isinstance(self.opened, Bundle)

    def described(self) -> dict[str, Any]:
        """The model as `/models` shows it."""
        manifest = self.opened.manifest
        shown = {
            "name": self.name,
            "kind": manifest.kind,
            "role": manifest.role,
            "bundle": manifest.name,
            "sha256": self.sha256,
            "precision": self.opened.precision,
            "providers": list(self.opened.providers),
            "threads": self.opened.threads,
            "parameters": manifest.parameters,
            "image_size": self.opened.preprocessor.image.size,
            "context_length": self.opened.preprocessor.text.context_length,
            "licence": manifest.licence,
            "results": manifest.results,
        }
        if isinstance(manifest, BundleManifest):
            shown |= {"dimensions": manifest.embed_dim, "logit_scale": manifest.logit_scale}
        return shown


class Models:
    """All models by name, the first of which answers requests that name none; and the threads that decode."""

    def __init__(
        self, folders: Mapping[str, Path], settings: Settings, metrics: Metrics | None = None
    ) -> None:
        """Open every bundle. Raises `BundleError` for one that cannot be."""
        self.settings = settings
        self.metrics = metrics
        self._decoders = Decoders(settings.decoders or usable_cores(), settings.queue)
        self._mailbox = Mailbox()
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

    def reload(self, name: str) -> Model:
        """Open the bundle in the model's folder again and put it in its place; requests that are under way
        end with the old one. Raises `BundleError`, and leaves the old one in place."""
        old = self.get(name)
        fresh = self._open(name, old.folder)
        self._models[name] = fresh
        old.engine.close()
        return fresh

    def timed(self, stage: str, model: Model) -> AbstractContextManager[None]:
        """Time a stage of a request for the metrics, where there are any."""
        return nullcontext() if self.metrics is None else self.metrics.stage(stage, model.name)

    def close(self) -> None:
        """Answer what waits, then end all threads."""
        for model in self._models.values():
            model.engine.close()
        self._decoders.shutdown()

    def _open(self, name: str, folder: Path) -> Model:
        settings = self.settings
        writes = not isinstance(read_manifest(folder), BundleManifest)
        opens = Writer.open if writes else Bundle.open
        opened: Bundle | Writer = opens(
            folder,
            precision=settings.precision,
            threads=settings.threads,
            low_memory=settings.low_memory,
            fast_decode=settings.fast_decode,
        )
        observe = None if self.metrics is None else self.metrics.batches(name)
        engine = Engine(self._lanes(opened), settings.queue, observe=observe)
        return Model(name, folder, opened, sha256_file(folder / MANIFEST), engine)

    def _lanes(self, opened: Bundle | Writer) -> dict[str, Lane]:
        most = self.settings.max_batch
        if isinstance(opened, Bundle):
            decoding = Lane(opened.run_images, most, more=lambda: self._decoders.backlog > 0)
            return {"image": decoding, "text": Lane(opened.run_texts, most)}
        return {"write": Lane(partial(_write, opened), min(most, _MOST_TEXTS))}

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
        except TimeoutError as error:
            raise ApiError(504, "deadline", "the deadline passed before the answer was there") from error
        except Exception as error:
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


def _write(writer: Writer, jobs: Rows) -> Rows:
    """Texts (N,) of jobs (N,): pixels, question or None, beams, longest length.

    Those of one length and number of beams are written together.
    """
    texts = np.empty(len(jobs), object)
    alike: dict[tuple[int, int], list[int]] = {}
    for index, (_, _, beams, longest) in enumerate(jobs):
        alike.setdefault((beams, longest), []).append(index)
    for (beams, longest), places in alike.items():
        pixels = np.stack([jobs[index][0] for index in places])
        asked = [jobs[index][1] for index in places]
        questions = writer.preprocessor.texts(asked) if writer.asks else None
        ids = writer.generate(pixels, questions, beams=beams, max_length=longest, min_length=None)
        texts[places] = writer.spell(ids)
    return texts
