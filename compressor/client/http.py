"""What both clients and the load generator need of httpx, which is imported only when one of them is made."""

from __future__ import annotations

import importlib
import ssl
from typing import TYPE_CHECKING, Any

from compressor.client.errors import ConnectionFailedError
from compressor.errors import DataError, MissingDependencyError

if TYPE_CHECKING:
    import httpx

AGENT = "compressor-client"
IDLE = 2.0
"""Seconds that a connection is kept for the next request: less than servers keep theirs, so that a request
does not meet a connection that is being closed."""


def load_httpx() -> Any:
    """The module `httpx`. Raises `MissingDependencyError` where it is not installed."""
    try:
        return importlib.import_module("httpx")
    except ImportError as error:
        raise MissingDependencyError("httpx is not installed; `pip install 'compressor[client]'`") from error


def base_url(url: str) -> httpx.URL:
    """The address of a service. Raises `DataError` for anything but http(s)://host[:port][/path]."""
    module = load_httpx()
    try:
        found: httpx.URL = module.URL(url)
    except (module.InvalidURL, TypeError) as error:
        raise DataError(f"{str(url)[:80]!r} is no address of a service: {error}") from error
    if found.scheme not in ("http", "https") or not found.host:
        raise DataError(f"{url[:80]!r} is no address of a service; give one such as http://127.0.0.1:3000")
    if found.query or found.fragment or found.userinfo:
        raise DataError(
            "the address of a service has no query, fragment, user or password; a key goes in `key`"
        )
    return found


def headers(key: str | None) -> dict[str, str]:
    """Those of every request. Raises `DataError` for a key that cannot be sent."""
    known = {"User-Agent": AGENT}
    if key is None:
        return known
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise DataError("a key is printable ASCII without spaces")
    return known | {"Authorization": f"Bearer {key}"}


def place(url: httpx.URL) -> str:
    """The service as sentences name it."""
    return f"{url.scheme}://{url.netloc.decode('ascii', 'replace')}"


def failure_of(error: Exception, where: str) -> ConnectionFailedError:
    """What an `httpx.RequestError` means."""
    module = load_httpx()
    if isinstance(error, module.TimeoutException):
        return timed_out(where)
    if isinstance(error, module.ConnectError):
        reason = _tls_reason(error)
        if reason is not None:
            return ConnectionFailedError("tls", f"{where} cannot be trusted: {reason}")
        return ConnectionFailedError("refused", f"{where} cannot be reached: {error or 'no connection'}")
    text = str(error).lower()
    ended = isinstance(error, module.RemoteProtocolError) and ("disconnected" in text or "closed" in text)
    if ended or isinstance(error, module.NetworkError):
        return ConnectionFailedError("closed", f"{where} closed the connection before its answer was whole")
    return ConnectionFailedError("protocol", f"{where} sent something that is not HTTP: {error}")


def timed_out(where: str) -> ConnectionFailedError:
    """No answer in time."""
    return ConnectionFailedError("timeout", f"{where} did not answer in time")


def _tls_reason(error: BaseException) -> str | None:
    """What TLS says, where a connection failed over it: asking again would not help."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return str(getattr(cause, "verify_message", None) or cause.reason or cause)
        cause = cause.__cause__ or cause.__context__
    return None
