"""Requests and replies as values, and how a call pairs the two. Nothing here touches a network."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Generic, TypeVar

from compressor.client.errors import BadAnswerError, ServiceError
from compressor.client.retries import retry_after

T = TypeVar("T")
P = TypeVar("P")

JSON = "application/json"
OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent; `path` with its query, escaped."""

    method: str
    path: str
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.path.partition('?')[0]}"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; the names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def good(self) -> bool:
        """True for 2xx."""
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request and how its answer is read.

    `accepts`: statuses beside 2xx that `parse` understands. `items`: as in `ClientError`. `retried`: False
    where the answer that a service is not ready is the answer.
    """

    request: Request
    parse: Callable[[Reply], T]
    accepts: tuple[int, ...] = ()
    items: tuple[int, int] | None = None
    retried: bool = True

    def result(self, reply: Reply) -> T:
        """What the reply means. Raises `ServiceError` and `BadAnswerError`."""
        if reply.good or reply.status in self.accepts:
            try:
                return self.parse(reply)
            except BadAnswerError as error:
                raise BadAnswerError(f"{self.request}: the answer {error}") from error
        raise service_error(reply)


@dataclass(frozen=True, slots=True)
class Calls(Generic[P, T]):
    """One method's several requests, made as they are needed, and how their results become one."""

    calls: Iterator[Call[P]]
    join: Callable[[Iterable[P]], T]


def json_request(path: str, content: Mapping[str, Any], accept: str = JSON) -> Request:
    """A POST of a JSON object without the fields that are None. Raises `ValueError` for NaN and infinity."""
    given = {name: value for name, value in content.items() if value is not None}
    body = json.dumps(given, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    return Request("POST", path, body.encode(), {"Content-Type": JSON, "Accept": accept})


def form_request(
    path: str, fields: Mapping[str, str | None], name: str, files: Sequence[bytes], accept: str = JSON
) -> Request:
    """A POST of `multipart/form-data` (RFC 7578): fields that are not None, and files under one name."""
    boundary = uuid.uuid4().hex
    parts: list[bytes] = []
    for key, value in fields.items():
        if value is not None:
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n'
            parts += [head.encode(), value.encode(), b"\r\n"]
    for number, content in enumerate(files):
        disposition = f'Content-Disposition: form-data; name="{name}"; filename="{number}"'
        head = f"--{boundary}\r\n{disposition}\r\nContent-Type: {OCTETS}\r\n\r\n"
        parts += [head.encode(), content, b"\r\n"]
    parts.append(f"--{boundary}--\r\n".encode())
    kind = f"multipart/form-data; boundary={boundary}"
    return Request("POST", path, b"".join(parts), {"Content-Type": kind, "Accept": accept})


def json_object(reply: Reply) -> dict[str, Any]:
    """The JSON object of a reply. Raises `BadAnswerError`."""
    try:
        found = json.loads(reply.content)
    except (ValueError, RecursionError) as error:
        raise BadAnswerError("is not JSON") from error
    if not isinstance(found, dict):
        raise BadAnswerError("is not a JSON object")
    return found


def service_error(reply: Reply) -> ServiceError:
    """The error of a reply, also where something before the service (a proxy) answered in its own way."""
    try:
        found = json_object(reply).get("error")
    except BadAnswerError:
        found = None
    wait = retry_after(reply.headers.get("retry-after"))
    if isinstance(found, dict) and isinstance(found.get("code"), str):
        message, param = found.get("message"), found.get("param")
        return ServiceError(
            reply.status,
            found["code"],
            message if isinstance(message, str) else "no message",
            param if isinstance(param, str) else None,
            wait,
        )
    known = {status.value: status.phrase for status in HTTPStatus}
    phrase = known.get(reply.status, "an unknown status")
    return ServiceError(
        reply.status, f"http_{reply.status}", f"{phrase}, without an error of the service", retry_after=wait
    )
