"""Pictures by address, `{"url": "https://..."}`: fetched before an endpoint sees the request.

Off unless hosts are allowed. A name is resolved once, all its addresses must be public, and the connection
goes to one of these addresses, so that a name which answers differently the second time gains nothing. TLS is
verified for the name. Redirects are followed by hand, each checked like the first. Proxies of the environment
are not used.
"""

from __future__ import annotations

import asyncio
import io
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException, HTTPResponse
from threading import Lock
from typing import Any, cast
from urllib.parse import urljoin

from serving.addresses import PORT, Address, UrlError, is_public, parsed
from serving.errors import ApiError, wrong
from serving.inputs import Fetched
from serving.settings import Settings

AT_ONCE = 16
"""Fetches of a worker at a time; more wait for their turn."""
REDIRECTS = 3
_REDIRECTED = (301, 302, 303, 307, 308)
_PIECE = 2**16

Resolve = Callable[[str, int], list[str]]
"""Host and port to all IP addresses."""
Connect = Callable[[str, int, float], socket.socket]
"""IP address, port and seconds to an open connection."""


class Fetcher:
    """Fetches what requests name, within the limits of the settings."""

    def __init__(
        self,
        settings: Settings,
        resolve: Resolve | None = None,
        connect: Connect | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._resolve, self._connect = resolve or _resolved, connect or _connected
        self._context = context or ssl.create_default_context()
        self._threads = ThreadPoolExecutor(AT_ONCE, "fetch")

    def close(self) -> None:
        """Begin no more fetches."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def fill(self, fields: dict[str, Any], deadline: float) -> None:
        """Put a `Fetched` in the place of every `{"url": ...}` that stands for a picture.

        Those of one request have until its deadline, `url_seconds` at most, and together as many bytes as a
        body. What is wrong with one is its own.
        """
        places = list(_places(fields, self._settings.max_items))
        if not places:
            return
        until = min(deadline, time.monotonic() + self._settings.url_seconds)
        room = _Room(self._settings.max_body)
        loop = asyncio.get_running_loop()
        fetches = [
            loop.run_in_executor(self._threads, self._picture, inside[key]["url"], until, room)
            for inside, key in places
        ]
        try:
            # Resolving a name takes as long as it takes: its thread is not waited for.
            done, _ = await asyncio.wait(fetches, timeout=max(0.0, until - time.monotonic()))
        finally:
            for fetch in fetches:
                fetch.cancel()
        for (inside, key), fetch in zip(places, fetches, strict=True):
            inside[key] = Fetched(fetch.result() if fetch in done else _refused(_LATE))

    def _picture(self, url: Any, until: float, room: _Room) -> bytes | ApiError:
        if not isinstance(url, str):
            return wrong("has a url that is not a string")
        try:
            return self._fetched(url, until, room)
        except UrlError as error:
            return _refused(str(error))
        except TimeoutError:
            return _refused(_LATE)
        except (OSError, ValueError, HTTPException):
            # Which of them it was would tell of the network that the service stands in.
            return _refused("could not be fetched")

    def _fetched(self, url: str, until: float, room: _Room) -> bytes:
        for _ in range(REDIRECTS + 1):
            address = parsed(url, self._settings.urls)
            with self._opened(address, until) as secure:
                response = _asked(address, _Bounded(secure, until))
                if response.status not in _REDIRECTED:
                    return _content(response, room)
                if "Location" not in response.headers:
                    raise UrlError("is redirected to no address")
                url = urljoin(url, response.headers["Location"])
        raise UrlError(f"is redirected more than {REDIRECTS} times")

    def _opened(self, address: Address, until: float) -> ssl.SSLSocket:
        """A connection to an address that was checked, with TLS that is verified for the host."""
        try:
            found = self._resolve(address.host, address.port)
        except (OSError, UnicodeError):
            found = []
        if not found or not all(is_public(each) for each in found):
            raise UrlError("has a host without a public address")
        plain = self._dialled(found, address.port, until)
        try:
            plain.settimeout(_left(until))
            return self._context.wrap_socket(plain, server_hostname=address.host)
        except BaseException:
            plain.close()
            raise

    def _dialled(self, found: list[str], port: int, until: float) -> socket.socket:
        """A connection to the first address that takes one; all yet to be tried share the time left."""
        problem = OSError()
        for tried, ip in enumerate(found):
            try:
                return self._connect(ip, port, _left(until) / (len(found) - tried))
            except OSError as error:
                problem = error
        raise problem


_LATE = "took too long to fetch"
_HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "compressor"}


def _refused(message: str) -> ApiError:
    return ApiError(400, "bad_url", message)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _resolved(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _connected(ip: str, port: int, seconds: float) -> socket.socket:
    return socket.create_connection((ip, port), timeout=seconds)


def _asked(address: Address, over: _Bounded) -> HTTPResponse:
    host = f"[{address.host}]" if ":" in address.host else address.host
    connection = HTTPConnection(host, address.port)
    connection.default_port = PORT  # which the `Host` header does not name
    connection.auto_open = 0  # no connection but this one
    connection.sock = cast(Any, over)
    connection.request("GET", address.target, headers=_HEADERS)
    return connection.getresponse()


def _content(response: HTTPResponse, room: _Room) -> bytes:
    if response.status != 200:
        raise UrlError(f"answers with status {response.status}")
    if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise UrlError("answers with a content encoding that was not asked for")
    declared, pieces, held = response.length, [], 0
    if declared is not None:
        room.take(declared)
    while piece := response.read(_PIECE):
        if declared is None:
            held = room.take(len(piece), held)
        pieces.append(piece)
    if response.length:
        raise UrlError("ended before it was whole")
    return b"".join(pieces)


class _Room:
    """Bytes that all fetches of a request may still bring."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most
        self._lock = Lock()

    def take(self, count: int, held: int = 0) -> int:
        """Count bytes that come beside the `held` ones of the same fetch; how many it holds then.

        Raises `UrlError` where they are too many, and leaves the room that it held to the others.
        """
        with self._lock:
            if count > self._left:
                self._left += held
                raise UrlError(f"brings more than the {self._most:,} bytes that a request may have")
            self._left -= count
        return held + count


class _Bounded:
    """What `http.client` needs of a socket. A time limit of a socket's own begins anew with every byte."""

    def __init__(self, secure: ssl.SSLSocket, until: float) -> None:
        self._secure, self._until = secure, until

    def sendall(self, content: bytes) -> None:
        self._secure.settimeout(_left(self._until))
        self._secure.sendall(content)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._secure, self._until))

    def close(self) -> None:
        """Not yet: an answer is read after its connection was given up. Who opened it closes it."""


class _Reader(io.RawIOBase):
    def __init__(self, secure: ssl.SSLSocket, until: float) -> None:
        self._secure, self._until = secure, until

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        self._secure.settimeout(_left(self._until))
        return self._secure.recv_into(into)


def _places(fields: dict[str, Any], most: int) -> Iterator[tuple[Any, Any]]:
    """Where `{"url": ...}` stands for a picture: what holds it, and its key or index there.

    Lists that are too long are left alone: they will be refused.
    """
    lists = {name: value for name, value in fields.items() if isinstance(value, list) and len(value) <= most}
    holders: list[tuple[Any, Any]] = [(fields, "image")]
    for name in ("images", "input"):
        holders += [(lists[name], k) for k in range(len(lists.get(name, ())))]
    holders += [(each, "image") for each in lists.get("items", ()) if isinstance(each, dict)]
    for inside, key in holders:
        value = inside.get(key) if isinstance(inside, dict) else inside[key]
        if isinstance(value, dict) and set(value) == {"url"}:
            yield inside, key
