"""The client of programs on asyncio. What it sends, and how it reads, is in `compressor.client.calls`."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from compressor.client import calls, http
from compressor.client.answers import Rows
from compressor.client.chunks import Limits
from compressor.client.errors import ClientError, ConnectionFailedError
from compressor.client.results import (
    Added,
    Answered,
    Caption,
    Classified,
    Found,
    Item,
    NewItem,
    Page,
    Picture,
    Ranking,
    ServedModel,
)
from compressor.client.retries import STANDARD, Attempts, Retries
from compressor.client.wire import Call, Calls, Reply, Request

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")


class AsyncClient:
    """As `compressor.client.Client`, with methods to await; closed by `async with` or `aclose`."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        model: str | None = None,
        timeout: float = 30.0,
        retries: Retries = STANDARD,
        batch: int = 64,
        batch_bytes: int = 8 * 2**20,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        module = http.load_httpx()
        base = http.base_url(url)
        self._where, self._model, self._timeout = http.place(base), model, timeout
        self._retries, self._limits, self._random = retries, Limits(batch, batch_bytes), random.Random()
        self._http: httpx.AsyncClient = module.AsyncClient(
            base_url=base,
            headers=http.headers(key),
            limits=module.Limits(keepalive_expiry=http.IDLE),
            transport=transport,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def embed_texts(self, texts: Iterable[str], *, model: str | None = None) -> Rows:
        """As `Client.embed_texts`."""
        return await self._all(calls.embed_texts(texts, model or self._model, self._limits))

    async def embed_images(self, images: Iterable[Picture], *, model: str | None = None) -> Rows:
        """As `Client.embed_images`."""
        return await self._all(calls.embed_images(images, model or self._model, self._limits))

    async def rank(
        self,
        *,
        image: Picture | None = None,
        texts: Iterable[str] | None = None,
        text: str | None = None,
        images: Iterable[Picture] | None = None,
        model: str | None = None,
    ) -> Ranking:
        """As `Client.rank`."""
        return await self._one(calls.rank(image, texts, text, images, model or self._model))

    async def classify(
        self,
        image: Picture,
        labels: Iterable[str],
        *,
        templates: Iterable[str] | None = None,
        model: str | None = None,
    ) -> tuple[Classified, ...]:
        """As `Client.classify`."""
        return await self._one(calls.classify(image, labels, templates, model or self._model))

    async def search(
        self,
        *,
        text: str | None = None,
        image: Picture | None = None,
        k: int = 10,
        filter: Mapping[str, Any] | None = None,
        model: str | None = None,
    ) -> Found:
        """As `Client.search`."""
        return await self._one(calls.search(text, image, k, filter, model or self._model))

    async def gallery_add(self, items: Iterable[NewItem], *, model: str | None = None) -> Added:
        """As `Client.gallery_add`."""
        return await self._all(calls.gallery_add(items, model or self._model, self._limits))

    async def gallery_list(self, *, limit: int = 50, cursor: str | None = None) -> Page:
        """As `Client.gallery_list`."""
        return await self._one(calls.gallery_list(limit, cursor))

    async def gallery_get(self, id: str) -> Item:
        """As `Client.gallery_get`."""
        return await self._one(calls.gallery_get(id))

    async def gallery_image(self, id: str) -> bytes:
        """As `Client.gallery_image`."""
        return await self._one(calls.gallery_image(id))

    async def gallery_delete(self, ids: str | Iterable[str]) -> int:
        """As `Client.gallery_delete`."""
        return await self._all(calls.gallery_delete(ids))

    async def caption(
        self,
        images: Iterable[Picture],
        *,
        beams: int | None = None,
        max_length: int | None = None,
        model: str | None = None,
    ) -> tuple[Caption, ...]:
        """As `Client.caption`."""
        return await self._all(calls.caption(images, beams, max_length, model or self._model, self._limits))

    async def answer(
        self, image: Picture, questions: Iterable[str], *, model: str | None = None
    ) -> tuple[Answered, ...]:
        """As `Client.answer`."""
        return await self._one(calls.answer(image, questions, model or self._model))

    async def models(self) -> tuple[ServedModel, ...]:
        """As `Client.models`."""
        return await self._one(calls.models())

    async def ready(self) -> bool:
        """As `Client.ready`."""
        try:
            return await self._one(calls.ready())
        except ConnectionFailedError:
            return False

    async def _all(self, several: Calls[Any, T]) -> T:
        parts = []
        # Files are read and bodies built in a thread, so that the loop stays free.
        while (call := await asyncio.to_thread(next, several.calls, None)) is not None:
            parts.append(await self._one(call))
        return several.join(parts)

    async def _one(self, call: Call[T]) -> T:
        attempts = Attempts(self._retries, time.monotonic())
        while True:
            seconds = attempts.timeout(self._timeout, time.monotonic())
            try:
                return call.result(await self._exchange(call.request, seconds))
            except ClientError as error:
                wait = attempts.wait(error, time.monotonic(), self._random.random()) if call.retried else None
                if wait is None:
                    error.items = call.items
                    raise
            await asyncio.sleep(wait)

    async def _exchange(self, request: Request, seconds: float) -> Reply:
        sent: dict[str, Any] = {"content": request.content, "headers": dict(request.headers)}
        try:
            async with asyncio.timeout(seconds):
                answer = await self._http.request(request.method, request.path, timeout=seconds, **sent)
        except TimeoutError as error:
            raise http.timed_out(self._where) from error
        except http.load_httpx().RequestError as error:
            raise http.failure_of(error, self._where) from error
        return Reply(answer.status_code, answer.headers, answer.content)
