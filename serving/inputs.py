"""Pictures, texts and numbers out of a request's body, each checked and named where it is wrong."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serving.bodies import Body, parse
from serving.errors import ApiError, wrong
from serving.settings import Settings

DATA_URL = re.compile(r"data:[a-z0-9.+/-]*(;[a-z0-9=.+-]+)*;base64,", re.IGNORECASE)


@dataclass(frozen=True)
class Fetched:
    """What stands in a request in the place of a picture that was sent as its address."""

    picture: bytes | ApiError


def text_of(value: Any, param: str, settings: Settings) -> str:
    """One text. Raises `ApiError` 422 for anything else, 413 for one that is too long."""
    if not isinstance(value, str):
        raise wrong(f"is {_kind(value)}; send a string", param)
    if not value.strip():
        raise wrong("is empty; send a text", param)
    if len(value) > settings.max_text:
        raise ApiError(
            413, "text_too_long", f"has {len(value):,} characters, {settings.max_text:,} are allowed", param
        )
    return value


def texts_of(value: Any, param: str, settings: Settings) -> list[str]:
    """A list of texts, at least one. Raises `ApiError`."""
    return [
        text_of(each, f"{param}[{k}]", settings) for k, each in enumerate(list_of(value, param, settings))
    ]


def list_of(value: Any, param: str, settings: Settings) -> list[Any]:
    """A list of at least one item and at most `max_items`. Raises `ApiError`."""
    if not isinstance(value, list):
        raise wrong(f"is {_kind(value)}; send a list", param)
    if not value:
        raise wrong("is empty; send at least one", param)
    check_count(len(value), param, settings)
    return value


def check_count(count: int, param: str, settings: Settings) -> None:
    """Raise `ApiError` 413 for more items than a request may have."""
    if count > settings.max_items:
        raise ApiError(
            413, "too_many_items", f"has {count:,} items, {settings.max_items:,} are allowed", param
        )


def picture_of(value: Any, param: str) -> bytes:
    """A picture in JSON: a data URL, plain base64, or one that was fetched. Raises `ApiError`."""
    if isinstance(value, Fetched):
        return _sound(value.picture, param)
    if isinstance(value, dict) and set(value) == {"url"}:
        told = "this service fetches no pictures; COMPRESSOR_URLS names the hosts to allow"
        raise ApiError(400, "bad_url", told, param)
    if not isinstance(value, str):
        raise wrong(f"is {_kind(value)}; send a data URL or base64", param)
    head = DATA_URL.match(value)
    try:
        return base64.b64decode(value[head.end() :] if head else value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(400, "bad_image", "is neither a data URL nor base64", param) from error


def _sound(picture: bytes | ApiError, param: str) -> bytes:
    if isinstance(picture, ApiError):
        raise ApiError(picture.status, picture.code, picture.message, param)
    return picture


def one_picture(body: Body, param: str = "image") -> bytes:
    """The one picture of a request, however it was sent. Raises `ApiError`."""
    if body.picture is not None:
        return body.picture
    files = [file for group in body.files.values() for file in group]
    if len(files) == 1:
        return files[0]
    if files:
        raise wrong(f"{len(files)} files were sent; send one", param)
    if param not in body.fields:
        raise wrong("is missing; send a picture", param)
    return picture_of(body.fields[param], param)


def one_way(body: Body, *ways: Sequence[str]) -> None:
    """Raise `ApiError` 422 for fields of two ways to ask: what one of them says would be left out unseen."""
    given = [
        [name for name in way if body.fields.get(name) is not None or name in body.files] for way in ways
    ]
    asked = [names[0] for names in given if names]
    if len(asked) > 1:
        raise wrong(f"cannot stand beside '{asked[0]}'; send one of them", asked[1])


def pictures(body: Body, param: str, settings: Settings) -> list[bytes | ApiError]:
    """All pictures of a request; one that is not even base64 has its error in its place. Raises `ApiError`
    for none or too many."""
    if body.picture is not None:
        return [body.picture]
    files = [file for group in body.files.values() for file in group]
    if files:
        check_count(len(files), param, settings)
        return list(files)
    if param not in body.fields:
        raise wrong("is missing; send pictures", param)
    return [
        picture_or_error(value, f"{param}[{k}]")
        for k, value in enumerate(list_of(body.fields[param], param, settings))
    ]


def picture_or_error(value: Any, param: str) -> bytes | ApiError:
    """The same as `picture_of`, with the error in place of the picture."""
    try:
        return picture_of(value, param)
    except ApiError as error:
        return error.bare()


def structured(body: Body, param: str) -> Any:
    """A field that is JSON by nature: as it is, or read from the text of a form; None where it is missing."""
    value = body.fields.get(param)
    if not body.files or not isinstance(value, str):
        return value
    return parse(value, param=param)


def number_of(value: Any, param: str, low: int, high: int) -> int:
    """A whole number within bounds, also as the text of a form. Raises `ApiError` 422."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,12}", value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():  # 10.0 is as whole a number as 10, in JSON
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(f"is {_kind(value)}; send a whole number", param)
    if not low <= value <= high:
        raise wrong(f"is {value}; allowed: {low:,} to {high:,}", param)
    return value


def choice_of(value: Any, param: str, allowed: Sequence[str]) -> str:
    """One of the allowed words. Raises `ApiError` 422."""
    if not isinstance(value, str) or value not in allowed:
        shown = repr(value)[:80] if isinstance(value, str) else _kind(value)
        raise wrong(f"is {shown}; allowed: {', '.join(allowed)}", param)
    return value


def only(body: Body, *allowed: str) -> None:
    """Raise `ApiError` 422 for a field that the endpoint does not know: a typing error would pass unseen."""
    for name in body.fields:
        if name not in allowed:
            raise wrong(f"there is no such field; allowed: {', '.join(allowed)}", name[:80])


def _kind(value: Any) -> str:
    if value is None:
        return "missing"
    names = {bool: "true or false", int: "a number", float: "a number", str: "a string"}
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")
