"""Hostile requests as bytes on the wire, each with the statuses that may answer it.

Their lists are made in the other modules called so; always the same ones.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any

KEY = "a-key-for-the-tests"
NO_ANSWER = 0
"""In the place of a status: the connection was closed without one."""
LATE = -1
"""In the place of a status: nothing came in time."""
Headers = Mapping[str, str] | Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Hostile:
    """A request. `bare`: the HTTP server itself may refuse it, with an answer of its own form or with none.
    `hangs_up`: the caller goes away at once and reads nothing."""

    name: str
    wire: bytes
    allowed: frozenset[int]
    bare: bool = False
    hangs_up: bool = False


@dataclass(frozen=True)
class Answer:
    """What came back: `status` is `NO_ANSWER` or `LATE` where nothing did."""

    status: int
    headers: Mapping[str, str]
    content: bytes


def wire(method: str, target: str | bytes, headers: Headers = (), content: bytes = b"") -> bytes:
    """A request with the key, and with the length of its content unless the headers name one."""
    given = list(headers.items() if isinstance(headers, Mapping) else headers)
    names = {name.lower() for name, _ in given}
    usual = [("Host", "test"), ("Authorization", f"Bearer {KEY}"), ("Connection", "close")]
    if content and not names & {"transfer-encoding", "content-length"}:
        usual.append(("Content-Length", str(len(content))))
    lines = [f"{name}: {value}" for name, value in usual if name.lower() not in names]
    lines += [f"{name}: {value}" for name, value in given]
    path = target.encode("latin-1") if isinstance(target, str) else target
    head = "".join(line + "\r\n" for line in lines).encode("latin-1")
    return method.encode("latin-1") + b" " + path + b" HTTP/1.1\r\n" + head + b"\r\n" + content


def posted(
    name: str, path: str, content: bytes | str | Any, *allowed: int, kind: str = "application/json"
) -> Hostile:
    """A POST: bytes and texts as they are, anything else as JSON."""
    if isinstance(content, str):
        content = content.encode()
    elif not isinstance(content, bytes):
        content = json.dumps(content).encode()
    return Hostile(name, wire("POST", path, {"Content-Type": kind}, content), frozenset(allowed))


def got(name: str, path: str, *allowed: int, method: str = "GET") -> Hostile:
    """A request without a body."""
    return Hostile(name, wire(method, path), frozenset(allowed))


def send(port: int, hostile: Hostile, seconds: float = 10) -> Answer:
    """Send it over a connection of its own and read the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before it was whole
            connection.sendall(hostile.wire)
        if hostile.hangs_up:
            return Answer(NO_ANSWER, {}, b"")
        response = HTTPResponse(connection, method=hostile.wire.partition(b" ")[0].decode("latin-1"))
        try:
            response.begin()
            return Answer(response.status, dict(response.headers), response.read())
        except (HTTPException, ConnectionResetError):
            return Answer(NO_ANSWER, {}, b"")
        except TimeoutError:
            return Answer(LATE, {}, b"")
        finally:
            response.close()
