"""A load generator that costs next to nothing, so that the service is what is measured.

`compressor bench http` speaks through a whole HTTP library, which takes about a millisecond of a core a
request: more than the services measured here do. This one writes bytes that were made beforehand and reads
no more of an answer than its status and its length. The loops and the counting are `compressor.client`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from compressor.client.load import Load, run
from compressor.client.tally import Tally


class Connection(asyncio.Protocol):
    """One request at a time over one connection that stays open."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._whole = 0
        self._status = 0
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("closed"))

    async def ask(self, request: bytes) -> int:
        """The status of the answer, when its last byte has come. Raises `OSError`."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._whole and (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[:end]).lower()
            self._status = int(head[9:12])
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._whole = end + 4 + int(length or 0)
        if self._whole and len(self._received) >= self._whole:
            del self._received[: self._whole]
            self._whole = 0
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(self._status)

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()


class Connections:
    """Sends request n of `requests` (in turn) over a connection that is free, opening those it lacks."""

    def __init__(self, host: str, port: int, requests: Sequence[bytes]) -> None:
        self._where, self._requests = (host, port), requests
        self._free: list[Connection] = []

    async def send(self, number: int) -> str | None:
        """None for an answer of 200, else what came instead."""
        try:
            while self._free and self._free[-1].closed:  # by the service, after some idle seconds
                self._free.pop()
            lane = self._free.pop() if self._free else await self._opened()
            status = await lane.ask(self._requests[number % len(self._requests)])
        except OSError as error:
            return type(error).__name__
        self._free.append(lane)
        return None if status == 200 else str(status)

    async def _opened(self) -> Connection:
        _, lane = await asyncio.get_running_loop().create_connection(Connection, *self._where)
        return lane

    def close(self) -> None:
        """End all connections."""
        for lane in self._free:
            lane.close()


def request(path: str, content: bytes, content_type: str) -> bytes:
    """A POST as it goes over the wire."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
        f"Accept: */*\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def measure(host: str, port: int, requests: Sequence[bytes], load: Load) -> Tally:
    """Put a load on a service; what came of it."""
    tally = Tally()

    async def work() -> None:
        connections = Connections(host, port, requests)
        await run(connections.send, load, tally)
        connections.close()

    asyncio.run(work())
    return tally
