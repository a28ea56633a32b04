"""All endpoints as one ASGI application: every failure is an answer, every answer has an id."""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from compressor.errors import CompressorError
from serving.bodies import Body, read_body
from serving.call import Call
from serving.cors import Cors
from serving.endpoints import compare, encode, gallery, page, state
from serving.endpoints import write as writing
from serving.errors import ApiError
from serving.galleries import Galleries
from serving.keys import Keys
from serving.logs import Entry, items_of, method_of, trace_of, write
from serving.memory import Tidying
from serving.models import Models
from serving.settings import Settings
from serving.tracing import Tracing
from serving.urls import Fetcher

Handler = Callable[[Call], Coroutine[Any, Any, Response]]
_GONE = 499
"""The status that proxies log for a caller that did not wait; nobody reads it."""
_UNWATCHED = 0.1
"""Seconds of a request before its caller is watched: most are answered by then, and a task for each costs."""
_NUMBERS = itertools.count(secrets.randbits(64))
"""Ids of requests that have none: as unique from a random start as random ones, and without system calls."""
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


@dataclass(frozen=True)
class Endpoint:
    """A path and what answers it. `pictures`: the body may be a picture's bytes. `key`: whether one is needed
    where keys are set, always, or never."""

    handler: Handler
    pictures: bool = False
    key: Literal["set", "always", "never"] = "set"


ENDPOINTS: dict[str, dict[str, Endpoint]] = {
    "/v1/embeddings": {"POST": Endpoint(encode.embeddings)},
    "/encode/image": {"POST": Endpoint(encode.encode_image, pictures=True)},
    "/encode/text": {"POST": Endpoint(encode.encode_text)},
    "/rank": {"POST": Endpoint(compare.rank)},
    "/classify": {"POST": Endpoint(compare.classify)},
    "/search": {"POST": Endpoint(gallery.search, pictures=True)},
    "/gallery": {"GET": Endpoint(gallery.show), "POST": Endpoint(gallery.add)},
    "/gallery/delete": {"POST": Endpoint(gallery.delete_many)},
    "/gallery/rebuild": {"POST": Endpoint(gallery.rebuild, key="always")},
    "/caption": {"POST": Endpoint(writing.caption, pictures=True)},
    "/answer": {"POST": Endpoint(writing.answer)},
    "/models": {"GET": Endpoint(state.models)},
    "/models/reload": {"POST": Endpoint(state.reload, key="always")},
    "/openapi.json": {"GET": Endpoint(state.described, key="never")},
    "/livez": {"GET": Endpoint(state.live, key="never")},
    "/readyz": {"GET": Endpoint(state.ready, key="never")},
    **{path: {"GET": Endpoint(page.show, key="never")} for path in page.FILES},
}
OF_AN_ITEM: dict[str, dict[str, Endpoint]] = {
    "": {"GET": Endpoint(gallery.get), "DELETE": Endpoint(gallery.delete)},
    "/image": {"GET": Endpoint(gallery.thumbnail)},
}
_ITEM = re.compile(r"/gallery/([^/]+)(/image)?")


class App:
    """The ASGI application over `models`."""

    def __init__(
        self,
        models: Models,
        settings: Settings,
        fetcher: Fetcher | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """`fetcher`: of pictures by address; without one its own where the settings allow them."""
        self.models, self.settings = models, settings
        self.galleries = Galleries(models, settings)
        self.keys = Keys(settings.keys, settings.keys_file)
        self.cors = Cors(settings.cors)
        self.fetcher = fetcher or (Fetcher(settings) if settings.urls else None)
        self.tracing = tracing
        self.tidying = Tidying()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"no {scope['type']} here")
        request = Request(scope, receive)
        given = request.headers.get("x-request-id", "")
        number = given if _ID.fullmatch(given) else f"{next(_NUMBERS) % 2**64:016x}"
        entry = Entry(number, method_of(request.method), template(scope))
        entry.trace_id = trace_of(request.headers.get("traceparent", ""))
        span = self.tracing.begin(request.headers, entry) if self.tracing else None
        started = time.monotonic()
        response = await self._answer(request, started + self.settings.deadline, entry)
        entry.status = response.status_code
        if entry.status == 429:
            self.tidying.refused()
        own = {name for name, _ in response.raw_headers}
        response.raw_headers += [header for header in _HEADERS if header[0] not in own]
        response.raw_headers.append((b"x-request-id", number.encode()))
        for name, value in self.cors.headers(request.headers).items():
            response.headers.setdefault(name, value)
        with suppress(OSError):
            await response(scope, receive, send)
        entry.ms = round((time.monotonic() - started) * 1e3, 2)
        if self.models.metrics is not None:
            self.models.metrics.answered(entry.path, entry.status, entry.ms / 1e3)
        if self.tracing:
            self.tracing.end(span, entry)
        write(entry)

    def close(self) -> None:
        """End what the application began beside requests."""
        if self.fetcher:
            self.fetcher.close()
        if self.tracing:
            self.tracing.close()

    async def _answer(self, request: Request, deadline: float, entry: Entry) -> Response:
        try:
            preflight = self.cors.preflight(request.method, request.headers)
            if preflight is not None:
                return preflight
            endpoint, item = find(request.method, request.scope)
            if endpoint.key != "never":
                self.keys.check(request.headers.get("authorization", ""), endpoint.key == "always")
            body = Body()
            if request.method in ("POST", "PUT", "PATCH"):
                if endpoint.pictures and request.headers.get("content-type", "").startswith("image/"):
                    self.models.check_room()
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    body = await read_body(request, self.settings.max_body, endpoint.pictures)
                entry.items = items_of(body)
            call = Call(request, body, self.models, self.settings, deadline, self.galleries, item)
            return await _while_connected(request, self._handled(endpoint, call))
        except ApiError as error:
            told = error.bare()
        except TimeoutError:
            told = ApiError(504, "deadline", "the deadline passed before the request was whole")
        except CompressorError as error:
            told = ApiError(422, "invalid_value", str(error))
        except Exception as error:
            entry.failed(error)
            told = ApiError(
                500, "internal", f"something went wrong here; the log has it under {entry.request_id}"
            )
        entry.code = told.code
        return told.response()

    async def _handled(self, endpoint: Endpoint, call: Call) -> Response:
        if self.fetcher is not None:
            await self.fetcher.fill(call.body.fields, call.deadline)
        return await endpoint.handler(call)


def find(method: str, scope: Scope) -> tuple[Endpoint, str | None]:
    """What answers a request, and the id of an item in its path.

    Raises `ApiError` 404 for another path, 405 for another method.
    """
    path, item = scope["path"], None
    methods = ENDPOINTS.get(path)
    if methods is None or (method in ("GET", "DELETE") and path in ("/gallery/delete", "/gallery/rebuild")):
        found = _of_an_item(scope)
        if found is not None:
            methods, item = OF_AN_ITEM[found[2] or ""], unquote(found[1])
    if methods is None:
        raise ApiError(404, "no_such_path", f"there is no {path[:200]} here")
    endpoint = methods.get("GET" if method == "HEAD" else method)
    if endpoint is None:
        allowed = ", ".join(methods)
        raise ApiError(
            405, "wrong_method", f"{path} takes {allowed}, not {method[:20]}", headers={"Allow": allowed}
        )
    return endpoint, item


def template(scope: Scope) -> str:
    """A request's path for the log and the metrics: without ids, and `other` for one that is not served."""
    if scope["path"] in ENDPOINTS:
        return str(scope["path"])
    found = _of_an_item(scope)
    return "other" if found is None else "/gallery/{id}" + (found[2] or "")


def _of_an_item(scope: Scope) -> re.Match[str] | None:
    """An id may hold anything: a slash in it is written %2F, which the path no longer shows."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return _ITEM.fullmatch(raw.partition(b"?")[0].decode("latin-1"))


async def _while_connected(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """The answer; where the caller went away first its work is given up.

    Middleware outside waits for an answer all the same, and without one forever, at shutdown too.
    """
    loop, here = asyncio.get_running_loop(), asyncio.current_task()
    assert here is not None
    watch: asyncio.Task[None] | None = None
    gone = False

    async def until_gone() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        here.cancel()

    def begin() -> None:
        nonlocal watch
        watch = loop.create_task(until_gone())

    timer = loop.call_later(_UNWATCHED, begin)
    try:
        return await work
    except asyncio.CancelledError:
        if not gone or here.uncancel() > 0:
            raise
        return Response(status_code=_GONE)
    finally:
        timer.cancel()
        if watch is not None:
            watch.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await watch
