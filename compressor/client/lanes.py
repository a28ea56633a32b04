"""Connections of a load: each carries one request at a time, and there are as many as are needed at once.

A client's pool looks through all its requests and connections for every one that is sent, which takes longer
than many services do. Here a free connection is taken from a stack.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from compressor.client import http
from compressor.client.bodies import LoadBody
from compressor.client.errors import ConnectionFailedError, one_line
from compressor.client.wire import Reply, service_error

if TYPE_CHECKING:
    import httpx


class Lanes:
    """Sends a load's requests to the service at `base`, over at most `most` connections; proxies of the
    environment are not used. Closed by `async with`."""

    def __init__(self, base: httpx.URL, body: LoadBody, headers: Mapping[str, str], most: int) -> None:
        self._module = http.load_httpx()
        self._where = http.place(base)
        self._trust = self._module.create_ssl_context()
        root = str(base).rstrip("/")
        self._requests = [
            self._module.Request(
                request.method,
                root + request.path,
                headers={**headers, **request.headers},
                content=request.content,
            )
            for request in body.requests
        ]
        self._room = asyncio.Semaphore(most)
        self._free: list[httpx.AsyncHTTPTransport] = []

    async def __aenter__(self) -> Lanes:
        return self

    async def __aexit__(self, *_: object) -> None:
        while self._free:
            await self._free.pop().aclose()

    async def send(self, number: int) -> str | None:
        """Send request `number` and read its answer; None where it is good, else what went wrong, in a word
        or two: a status and its code, or the kind of a connection's failure."""
        try:
            reply = await self.exchange(number)
        except ConnectionFailedError as error:
            return error.kind
        if reply.good:
            return None if reply.content else "empty answer"
        refused = service_error(reply)
        return one_line(f"{refused.status} {refused.code[:40]}")

    async def exchange(self, number: int) -> Reply:
        """Send request `number`; its answer, good or not. Raises `ConnectionFailedError`."""
        async with self._room:
            lane = self._free.pop() if self._free else self._opened()
            whole = False
            try:
                answer = await lane.handle_async_request(self._requests[number % len(self._requests)])
                try:
                    content = await answer.aread()
                finally:
                    await answer.aclose()
                whole = True
            except self._module.RequestError as error:
                raise http.failure_of(error, self._where) from error
            finally:
                if whole:
                    self._free.append(lane)
                else:  # what is left on it belongs to no request
                    with contextlib.suppress(Exception):
                        await lane.aclose()
        return Reply(answer.status_code, answer.headers, content)

    def _opened(self) -> httpx.AsyncHTTPTransport:
        limits = self._module.Limits(
            max_connections=1, max_keepalive_connections=1, keepalive_expiry=http.IDLE
        )
        lane: httpx.AsyncHTTPTransport = self._module.AsyncHTTPTransport(verify=self._trust, limits=limits)
        return lane
