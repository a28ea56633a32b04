"""What a request can get wrong: a status, a code for programs, a sentence for people, the part at fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from compressor.errors import BadImageError
from serving.batching import ClosedError, DeadlineError, OverloadedError

_LONGEST = 500
"""Characters of a message."""


class ApiError(Exception):
    """An answer from 400 up. `param` names the part of the request that is at fault."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code = status, code
        self.message, self.param = _printable(message), None if param is None else _printable(param)
        self.headers = dict(headers or {})

    def bare(self) -> ApiError:
        """The same without the frames that it passed: they hold it in turn, and with it the request's body,
        until the next collection."""
        self.__traceback__ = self.__cause__ = self.__context__ = None
        return self

    def content(self) -> dict[str, Any]:
        """What stands under `error`."""
        return {"code": self.code, "message": self.message, "param": self.param}

    def response(self) -> Response:
        """The whole answer."""
        return JSONResponse({"error": self.content()}, self.status, self.headers)


def _printable(text: str) -> str:
    """Text that may quote a caller's: one line of bounded length, which UTF-8 can hold."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def placeless(message: str, place: str) -> str:
    """What is said of a gallery, without the path or address where it lies."""
    return message.removeprefix(f"{place}: ").replace(place, "the gallery")


def wrong(message: str, param: str | None = None) -> ApiError:
    """422: the request can be read, and a value in it makes no sense."""
    return ApiError(422, "invalid_value", message, param)


_IMAGES = {
    "damaged": (400, "bad_image"),
    "unknown_format": (415, "unknown_image_format"),
    "too_large": (413, "too_many_pixels"),
}


def of_image(error: BadImageError, param: str | None = None) -> ApiError:
    """What is wrong with a picture."""
    status, code = _IMAGES[error.fault]
    return ApiError(status, code, error.reason, param)


def overloaded(error: OverloadedError) -> ApiError:
    """A full queue."""
    seconds = str(max(1, round(error.retry_after)))
    return ApiError(429, "overloaded", str(error), headers={"Retry-After": seconds})


def of_engine(error: BaseException) -> ApiError | None:
    """What the queue in front of a model says; None for anything else."""
    if isinstance(error, OverloadedError):
        return overloaded(error)
    if isinstance(error, TimeoutError):
        return ApiError(504, "deadline", "the deadline passed before the answer was there")
    if isinstance(error, DeadlineError):
        return ApiError(504, "deadline", str(error))
    if isinstance(error, ClosedError):
        return ApiError(503, "shutting_down", str(error), headers={"Retry-After": "1"})
    return None
