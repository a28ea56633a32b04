"""The client that waits for its answers. What it sends, and how it reads, is in `compressor.client.calls`."""

from __future__ import annotations

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


class Client:
    """A service at `url`; may be used by several threads at once, and is closed by `with` or `close`.

    `key`: sent as a bearer key. `model`: asked where a call names none; None: the service's first.
    `timeout`: seconds of one attempt. `retries`: of one request. `batch`, `batch_bytes`: how much goes into
    one request where a call has more. `transport`: httpx's, for tests and unusual networks.

    Every method raises `ServiceError` where the service refuses, `ConnectionFailedError` without an answer,
    `BadAnswerError` for one that cannot be understood (all are `ClientError`), and `DataError` for
    arguments that cannot be sent.
    """

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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        module = http.load_httpx()
        base = http.base_url(url)
        self._where, self._model, self._timeout = http.place(base), model, timeout
        self._retries, self._limits, self._random = retries, Limits(batch, batch_bytes), random.Random()
        self._http: httpx.Client = module.Client(
            base_url=base,
            headers=http.headers(key),
            limits=module.Limits(keepalive_expiry=http.IDLE),
            transport=transport,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def embed_texts(self, texts: Iterable[str], *, model: str | None = None) -> Rows:
        """(N, D) of unit length, in as many requests as it takes."""
        return self._all(calls.embed_texts(texts, model or self._model, self._limits))

    def embed_images(self, images: Iterable[Picture], *, model: str | None = None) -> Rows:
        """(N, D) of unit length; a picture is the bytes of its file or a path. One that cannot be encoded is
        an error of the call, whose `items` say in which request it was."""
        return self._all(calls.embed_images(images, model or self._model, self._limits))

    def rank(
        self,
        *,
        image: Picture | None = None,
        texts: Iterable[str] | None = None,
        text: str | None = None,
        images: Iterable[Picture] | None = None,
        model: str | None = None,
    ) -> Ranking:
        """An `image` against `texts`, or a `text` against `images`, the best first."""
        return self._one(calls.rank(image, texts, text, images, model or self._model))

    def classify(
        self,
        image: Picture,
        labels: Iterable[str],
        *,
        templates: Iterable[str] | None = None,
        model: str | None = None,
    ) -> tuple[Classified, ...]:
        """A picture against labels put into `templates` (each with one `{}`), the best first."""
        return self._one(calls.classify(image, labels, templates, model or self._model))

    def search(
        self,
        *,
        text: str | None = None,
        image: Picture | None = None,
        k: int = 10,
        filter: Mapping[str, Any] | None = None,
        model: str | None = None,
    ) -> Found:
        """The `k` pictures of the gallery nearest to a `text` or an `image`, among those `filter` keeps."""
        return self._one(calls.search(text, image, k, filter, model or self._model))

    def gallery_add(self, items: Iterable[NewItem], *, model: str | None = None) -> Added:
        """Add pictures, in as many requests as it takes; each item has its own result. Safe to repeat."""
        return self._all(calls.gallery_add(items, model or self._model, self._limits))

    def gallery_list(self, *, limit: int = 50, cursor: str | None = None) -> Page:
        """Some pictures of the gallery; `cursor` is the page's before."""
        return self._one(calls.gallery_list(limit, cursor))

    def gallery_get(self, id: str) -> Item:
        """What is known of one picture."""
        return self._one(calls.gallery_get(id))

    def gallery_image(self, id: str) -> bytes:
        """One picture's thumbnail, as a JPEG file."""
        return self._one(calls.gallery_image(id))

    def gallery_delete(self, ids: str | Iterable[str]) -> int:
        """Delete one picture, which must be there, or those of a list that are; how many there were."""
        return self._all(calls.gallery_delete(ids))

    def caption(
        self,
        images: Iterable[Picture],
        *,
        beams: int | None = None,
        max_length: int | None = None,
        model: str | None = None,
    ) -> tuple[Caption, ...]:
        """Captions; each picture has its own result."""
        return self._all(calls.caption(images, beams, max_length, model or self._model, self._limits))

    def answer(
        self, image: Picture, questions: Iterable[str], *, model: str | None = None
    ) -> tuple[Answered, ...]:
        """Answers to questions about one picture."""
        return self._one(calls.answer(image, questions, model or self._model))

    def models(self) -> tuple[ServedModel, ...]:
        """The bundles that are served, the default one first."""
        return self._one(calls.models())

    def ready(self) -> bool:
        """True where the service can answer now; False where it says no, or nothing in time. Not retried."""
        try:
            return self._one(calls.ready())
        except ConnectionFailedError:
            return False

    def _all(self, several: Calls[Any, T]) -> T:
        return several.join([self._one(call) for call in several.calls])

    def _one(self, call: Call[T]) -> T:
        attempts = Attempts(self._retries, time.monotonic())
        while True:
            seconds = attempts.timeout(self._timeout, time.monotonic())
            try:
                return call.result(self._exchange(call.request, seconds))
            except ClientError as error:
                wait = attempts.wait(error, time.monotonic(), self._random.random()) if call.retried else None
                if wait is None:
                    error.items = call.items
                    raise
            time.sleep(wait)

    def _exchange(self, request: Request, seconds: float) -> Reply:
        """One attempt. The time is looked at between the parts of an answer: one that trickles ends."""
        until = time.monotonic() + seconds
        sent: dict[str, Any] = {"content": request.content, "headers": dict(request.headers)}
        try:
            with self._http.stream(request.method, request.path, timeout=seconds, **sent) as answer:
                parts = []
                for part in answer.iter_bytes():
                    parts.append(part)
                    if time.monotonic() > until:
                        raise http.timed_out(self._where)
        except http.load_httpx().RequestError as error:
            raise http.failure_of(error, self._where) from error
        return Reply(answer.status_code, answer.headers, b"".join(parts))
