"""One request on its way: what it holds, the models, when it must be answered."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.requests import Request

from compressor.runtime import Bundle, Writer
from serving.bodies import Body
from serving.errors import ApiError, wrong
from serving.galleries import Galleries
from serving.models import Item, Model, Models, Rows
from serving.settings import Settings

_MOST_AT_ONCE = 20_000
"""Characters that are tokenised on the loop, some 20 ms of it; more are in a thread."""


@dataclass(frozen=True)
class Call:
    """What an endpoint works with. `deadline`: on the clock of the engines (monotonic seconds)."""

    request: Request
    body: Body
    models: Models
    settings: Settings
    deadline: float
    galleries: Galleries
    item: str | None = None
    """The id in the path."""

    def value(self, name: str) -> Any:
        """A field of the body, or of the query where the body has none."""
        return self.body.fields.get(name, self.request.query_params.get(name))

    def model(self) -> Model:
        """The model that the request names. Raises `ApiError`."""
        name = self.value("model")
        if name is not None and not isinstance(name, str):
            raise wrong("is not a name; send a string", "model")
        return self.models.get(name)

    def embedder(self) -> tuple[Model, Bundle]:
        """The model, which must embed. Raises `ApiError` 409 for one that writes."""
        model = self.model()
        if not isinstance(model.opened, Bundle):
            raise ApiError(409, "wrong_kind", f"'{model.name}' writes text and embeds nothing", "model")
        return model, model.opened

    def writer(self) -> tuple[Model, Writer]:
        """The model, which must write. Raises `ApiError` 409 for one that embeds."""
        model = self.model()
        if not isinstance(model.opened, Writer):
            raise ApiError(409, "wrong_kind", f"'{model.name}' embeds and writes no text", "model")
        return model, model.opened

    async def embed_images(self, model: Model, files: list[bytes | ApiError]) -> list[Item]:
        """A unit row for every file, or its error in its place."""
        good = [file for file in files if isinstance(file, bytes)]
        decoded = iter(await self.models.pixels(model, good))
        items = [next(decoded) if isinstance(file, bytes) else file for file in files]
        return await self.models.run_items(model, "image", items, self.deadline)

    async def embed_texts(self, model: Model, texts: list[str]) -> Rows:
        """Unit rows (N, D)."""
        return await self.models.run(model, "text", await self.token_ids(model, texts), self.deadline)

    async def token_ids(self, model: Model, texts: list[str]) -> Rows:
        """Ids (N, L). Raises `ApiError` 504 where the deadline passes first."""
        with self.models.timed("tokenise", model):
            if sum(map(len, texts)) <= _MOST_AT_ONCE:
                return model.opened.preprocessor.texts(texts)
            return await asyncio.to_thread(_one_by_one, model, texts, self.deadline)


def _one_by_one(model: Model, texts: list[str], deadline: float) -> Rows:
    rows = []
    for text in texts:
        if time.monotonic() > deadline:
            raise ApiError(504, "deadline", "the deadline passed before all texts were tokenised")
        rows.append(model.opened.preprocessor.texts([text]))
    return np.concatenate(rows)
