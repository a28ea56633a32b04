"""Bodies of requests, read within limits: JSON that is JSON, multipart that is whole, pictures as bytes."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from serving.errors import ApiError

JSON = "application/json"
MULTIPART = "multipart/form-data"
_DEEPEST = 64
_MOST_VALUES = 1_000_000
"""Of one JSON text; commas within strings count too."""
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True)
class Body:
    """What a request holds: fields of a JSON object or form, files of a form by field, or one picture."""

    fields: dict[str, Any] = field(default_factory=dict)
    files: dict[str, list[bytes]] = field(default_factory=dict)
    picture: bytes | None = None


async def read_body(request: Request, most: int, pictures: bool = False) -> Body:
    """The body of a request, of at most `most` bytes; `pictures`: it may be a picture itself.

    Raises `ApiError`: 400 for JSON or multipart that cannot be read, 413 for too many bytes, 415 for another
    content type.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    content = await _content(request, most)
    if kind == JSON:
        return Body(fields=parse_object(content))
    if kind == MULTIPART:
        return await _multipart(request, content)
    if pictures and (kind.startswith("image/") or kind == "application/octet-stream"):
        return Body(picture=content)
    allowed = f"{JSON}, {MULTIPART}" + ", or a picture as image/* or application/octet-stream" * pictures
    raise ApiError(
        415, "wrong_content_type", f"the content type is '{kind[:80]}'; send {allowed}", "Content-Type"
    )


async def _content(request: Request, most: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise _too_large(most)
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise _too_large(most)
            parts.append(part)
    except ClientDisconnect as error:
        raise ApiError(400, "bad_request", "the request ended before its body did") from error
    return b"".join(parts)


def _too_large(most: int) -> ApiError:
    return ApiError(413, "body_too_large", f"the body is larger than the {most:,} bytes that are allowed")


def parse_object(content: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8, read as strictly as `parse` does. Raises `ApiError` 400."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ApiError(400, "bad_json", f"the body is not UTF-8 (byte {error.start})") from error
    found = parse(text, "the body is")
    if not isinstance(found, dict):
        raise ApiError(400, "bad_json", f"the body is a JSON {type(found).__name__}; send an object")
    return found


def parse(text: str, what: str = "is", param: str | None = None) -> Any:
    """JSON, strictly: no NaN, no key twice, nested no deeper than 64, and no half of a surrogate pair, which
    JSON can spell and no answer could repeat in UTF-8.

    Raises `ApiError` 400 about `param`, with a sentence that begins with `what`; 413 for more values than any
    request needs, which would take twenty times as much memory as their text.
    """
    if sum(map(text.count, "[{,")) > _MOST_VALUES:
        raise ApiError(413, "too_many_items", f"{what} of more than {_MOST_VALUES:,} values", param)
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
        if _HALF.search(text):  # as far as a pattern can tell
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ApiError(400, "bad_json", f"{what} nested too deeply", param) from error
    except UnicodeEncodeError as error:
        told = f"{what} not JSON: half of a surrogate pair stands alone"
        raise ApiError(400, "bad_json", told, param) from error
    except ValueError as error:
        raise ApiError(400, "bad_json", f"{what} not JSON: {error}", param) from error
    if _depth(found) > _DEEPEST:
        raise ApiError(400, "bad_json", f"{what} nested too deeply", param)
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level and depth <= _DEEPEST:
        depth += 1
        inside: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inside += each.values()
            elif isinstance(each, list):
                inside += each
        level = [each for each in inside if isinstance(each, dict | list)]
    return depth


async def _multipart(request: Request, content: bytes) -> Body:
    boundary = _boundary(request.headers.get("content-type", ""))
    if not content.rstrip(b"\r\n").endswith(b"--" + boundary + b"--"):
        raise ApiError(400, "bad_multipart", "the multipart body is cut off: its last boundary is missing")

    async def stream() -> AsyncGenerator[bytes, None]:
        yield content

    # Not the request's own headers: they could name any codec of Python's, slow ones too.
    headers = Headers(raw=[(b"content-type", b'multipart/form-data; boundary="' + boundary + b'"')])
    parser = MultiPartParser(
        headers, stream(), max_files=10_000, max_fields=1_000, max_part_size=len(content)
    )
    parser.spool_max_size = len(content) + 1  # it is in memory already, and the file system may be read-only
    fields: dict[str, Any] = {}
    files: dict[str, list[bytes]] = {}
    try:
        form = await parser.parse()
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                files.setdefault(name, []).append(await value.read())
            elif name in fields:
                raise ApiError(400, "bad_multipart", f"the field '{name[:80]}' stands twice", name[:80])
            else:
                fields[name] = value
    except MultiPartException as error:
        raise ApiError(400, "bad_multipart", f"the multipart body cannot be read: {error.message}") from error
    except (ValueError, KeyError, LookupError, UnicodeError) as error:  # headers of parts that are none
        raise ApiError(400, "bad_multipart", f"the multipart body cannot be read: {error}") from error
    return Body(fields=fields, files=files)


def _boundary(content_type: str) -> bytes:
    for part in content_type.split(";")[1:]:
        name, _, value = part.strip().partition("=")
        if name.lower() == "boundary" and value.strip('"'):
            return value.strip('"').encode("latin-1", "replace")
    raise ApiError(400, "bad_multipart", "the content type names no boundary", "Content-Type")
