"""A small service that follows docs/serving.md, with failures on demand and a memory of what it was sent."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

WIDTH = 6
KEY = "secret"
JPEG = b"\xff\xd8 a thumbnail"
BAD = b"damaged"
"""A picture that the service cannot read."""


def row(content: bytes) -> np.ndarray:
    """The embedding of a text or picture: of unit length, decided by its bytes."""
    seed = int.from_bytes(hashlib.sha256(content).digest()[:8], "little")
    values = np.random.default_rng(seed).normal(size=WIDTH)
    return (values / np.linalg.norm(values)).astype(np.float32)


def refusal(status: int, code: str, message: str, param: str | None = None, **headers: str) -> Response:
    """An error as the service answers it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse({"error": {"code": code, "message": message, "param": param}}, status, named)


@dataclass
class Service:
    """`script`: answers given instead of the right ones, in turn; None lets one pass. `key`: demanded."""

    script: list[Response | None] = field(default_factory=list)
    key: str | None = None
    most_items: int = 256
    requests: list[tuple[str, str]] = field(default_factory=list)
    gallery: dict[str, dict[str, Any]] = field(default_factory=dict)
    counts: list[int] = field(default_factory=list)
    models: list[str | None] = field(default_factory=list)
    fields: list[dict[str, Any]] = field(default_factory=list)
    delay: Callable[[], Awaitable[None]] | None = None
    count: int = 0
    remember: bool = True

    def app(self) -> Starlette:
        paths = [
            ("/encode/text", "POST", self._texts),
            ("/encode/image", "POST", self._images),
            ("/rank", "POST", self._rank),
            ("/classify", "POST", self._classify),
            ("/search", "POST", self._search),
            ("/gallery", "POST", self._add),
            ("/gallery", "GET", self._list),
            ("/gallery/delete", "POST", self._delete),
            ("/gallery/{id}", "GET", self._get),
            ("/gallery/{id}", "DELETE", self._delete_one),
            ("/gallery/{id}/image", "GET", self._thumbnail),
            ("/caption", "POST", self._caption),
            ("/answer", "POST", self._answer),
            ("/models", "GET", self._models),
            ("/readyz", "GET", self._ready),
        ]
        return Starlette(
            routes=[Route(path, self._guarded(answer), methods=[verb]) for path, verb, answer in paths]
        )

    def _guarded(self, answer: Callable[[Request], Awaitable[Response]]) -> Callable[..., Any]:
        async def guarded(request: Request) -> Response:
            self.count += 1
            if self.remember:
                self.requests.append((request.method, request.url.path))
            if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
                return refusal(401, "no_key", "send a key")
            if self.delay is not None:
                await self.delay()
            scripted = self.script.pop(0) if self.script else None
            return scripted if scripted is not None else await answer(request)

        return guarded

    def _seen(self, fields: dict[str, Any], count: int) -> None:
        if self.remember:
            self.fields.append(fields)
            self.models.append(fields.get("model"))
            self.counts.append(count)

    async def _texts(self, request: Request) -> Response:
        content = await request.json()
        texts = content["texts"]
        self._seen(content, len(texts))
        if len(texts) > self.most_items:
            return refusal(413, "too_many_items", f"has {len(texts)} items", "texts")
        if "" in texts:
            return refusal(422, "invalid_value", "is empty; send a text", f"texts[{texts.index('')}]")
        return _octets([row(text.encode()) for text in texts])

    async def _images(self, request: Request) -> Response:
        files, fields = await _files(request)
        self._seen(fields, len(files))
        if BAD in files:
            return refusal(400, "bad_image", "is damaged", f"images[{files.index(BAD)}]")
        return _octets([row(file) for file in files])

    async def _rank(self, request: Request) -> Response:
        content = await request.json()
        if "texts" in content:
            query = row(base64.b64decode(content["image"]))
            candidates = [text.encode() for text in content["texts"]]
        else:
            query = row(content["text"].encode())
            candidates = [base64.b64decode(image) for image in content["images"]]
        self._seen(content, len(candidates))
        cosines = {k: float(row(each) @ query) for k, each in enumerate(candidates) if each != BAD}
        results: list[dict[str, Any]] = [
            {"index": k, "cosine": cosine, "logit": 10 * cosine, "probability": 1 / len(cosines)}
            for k, cosine in sorted(cosines.items(), key=lambda pair: -pair[1])
        ]
        error = {"code": "bad_image", "message": "is damaged", "param": None}
        results += [{"index": k, "error": error} for k, each in enumerate(candidates) if each == BAD]
        return JSONResponse({"model": "student", "results": results})

    async def _classify(self, request: Request) -> Response:
        content = await request.json()
        self._seen(content, len(content["labels"]))
        results = [
            {"index": k, "label": label, "cosine": 0.5, "probability": 0.25}
            for k, label in enumerate(content["labels"])
        ]
        return JSONResponse({"model": "student", "results": results})

    async def _search(self, request: Request) -> Response:
        content = await request.json()
        self._seen(content, 1)
        query = row(content["text"].encode() if "text" in content else base64.b64decode(content["image"]))
        wanted = content.get("filter", {})
        hits = [
            {"id": id_, "score": float(item["row"] @ query), "metadata": item["metadata"]}
            for id_, item in self.gallery.items()
            if all(item["metadata"].get(name) == value for name, value in wanted.items())
        ]
        hits.sort(key=lambda hit: -hit["score"])
        took = {"encode": 1.5, "index": 0.25}
        return JSONResponse({"model": "student", "results": hits[: content["k"]], "took_ms": took})

    async def _add(self, request: Request) -> Response:
        files, fields = await _files(request)
        self._seen(fields, len(files))
        results: list[dict[str, Any]] = []
        for k, (item, file) in enumerate(zip(json.loads(fields["items"]), files, strict=True)):
            if file == BAD:
                error = {"code": "bad_image", "message": "is damaged", "param": f"images[{k}]"}
                results.append({"index": k, "error": error})
            else:
                self.gallery[item["id"]] = {"row": row(file), "metadata": item["metadata"]}
                results.append({"index": k, "id": item["id"]})
        if all("error" in result for result in results):
            return refusal(400, **results[0]["error"])
        return JSONResponse({"added": sum("id" in result for result in results), "results": results})

    def _item(self, id_: str) -> dict[str, Any]:
        return {"id": id_, "metadata": self.gallery[id_]["metadata"], "width": 32, "height": 24}

    async def _list(self, request: Request) -> Response:
        limit, after = int(request.query_params["limit"]), request.query_params.get("cursor", "")
        rest = sorted(id_ for id_ in self.gallery if id_ > after)
        page = rest[:limit]
        cursor = page[-1] if len(rest) > limit else None
        items = [self._item(id_) for id_ in page]
        return JSONResponse(
            {"count": len(self.gallery), "items": items, "next_cursor": cursor, "index": {"kind": "exact"}}
        )

    async def _get(self, request: Request) -> Response:
        id_ = request.path_params["id"]
        if id_ not in self.gallery:
            return refusal(404, "no_such_item", f"there is no item '{id_}'", "id")
        return JSONResponse(self._item(id_))

    async def _thumbnail(self, request: Request) -> Response:
        if request.path_params["id"] not in self.gallery:
            return refusal(404, "no_such_item", "there is no such item", "id")
        return Response(JPEG, media_type="image/jpeg")

    async def _delete_one(self, request: Request) -> Response:
        if self.gallery.pop(request.path_params["id"], None) is None:
            return refusal(404, "no_such_item", "there is no such item", "id")
        return JSONResponse({"deleted": 1})

    async def _delete(self, request: Request) -> Response:
        ids = (await request.json())["ids"]
        self._seen({}, len(ids))
        return JSONResponse({"deleted": sum(self.gallery.pop(id_, None) is not None for id_ in ids)})

    async def _caption(self, request: Request) -> Response:
        files, fields = await _files(request)
        self._seen(fields, len(files))
        error = {"code": "bad_image", "message": "is damaged", "param": None}
        results = [
            {"index": k, "error": error} if file == BAD else {"index": k, "caption": f"{len(file)} bytes"}
            for k, file in enumerate(files)
        ]
        return JSONResponse({"model": "student", "results": results})

    async def _answer(self, request: Request) -> Response:
        content = await request.json()
        results = [
            {"index": k, "question": question, "answer": "yes"}
            for k, question in enumerate(content["questions"])
        ]
        return JSONResponse({"model": "student", "results": results})

    async def _models(self, request: Request) -> Response:
        facts = {"kind": "dual_encoder", "sha256": "ab" * 32, "precision": "fp32", "threads": 2}
        return JSONResponse({"models": [{"name": name, **facts} for name in ("student", "teacher")]})

    async def _ready(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})


def _octets(rows: list[np.ndarray]) -> Response:
    shape = {"X-Shape": f"{len(rows)},{WIDTH}"}
    return Response(np.stack(rows).astype("<f4").tobytes(), 200, shape, "application/octet-stream")


async def _files(request: Request) -> tuple[list[bytes], dict[str, Any]]:
    if not request.headers["content-type"].startswith("multipart/"):
        return [await request.body()], dict(request.query_params)
    async with request.form(max_files=10_000) as form:
        files = [await value.read() for _, value in form.multi_items() if not isinstance(value, str)]
        return files, {name: value for name, value in form.multi_items() if isinstance(value, str)}


class Bridge(httpx.BaseTransport):
    """An ASGI app for a client that waits."""

    def __init__(self, app: Any) -> None:
        self._inner = httpx.ASGITransport(app)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def exchange() -> httpx.Response:
            sent = httpx.Request(request.method, request.url, headers=request.headers, content=request.read())
            answer = await self._inner.handle_async_request(sent)
            content = await answer.aread()
            return httpx.Response(answer.status_code, headers=answer.headers, content=content)

        return asyncio.run(exchange())


@contextlib.contextmanager
def running(app: Any) -> Iterator[str]:
    """A real server in a thread; its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


@contextlib.contextmanager
def socket_server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that treats every connection as `answer` does, and then closes it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def nobody() -> str:
    """An address at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"
