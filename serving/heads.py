"""A bound on what a request may say before and after its body, which uvicorn has none for with httptools.

Without it one connection fills the memory with a header that never ends, before any key is looked at.
"""

from __future__ import annotations

from typing import Any

MOST = 64 * 1024
"""Bytes of a request line with its headers, or of trailers; one read of the socket may come on top."""
_TOLD = "The head of the request is too large."


def bound_heads() -> None:
    """Bound them for all connections of this process. uvicorn's other parser, h11, does so by itself."""
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError:
        return
    if not hasattr(HttpToolsProtocol, "unread"):
        _bound(HttpToolsProtocol)


def _bound(protocol: Any) -> None:
    """Count the bytes that came since a request began, or since the last piece of its body."""
    protocol.unread = 0
    received = protocol.data_received

    def data_received(self: Any, data: bytes) -> None:
        if self.unread > MOST:
            self.logger.warning(_TOLD)
            self.send_400_response(_TOLD)
            return
        self.unread += len(data)
        received(self, data)

    def then_none(name: str) -> Any:
        then = getattr(protocol, name)

        def call(self: Any, *given: bytes) -> None:
            self.unread = 0
            then(self, *given)

        return call

    protocol.data_received = data_received
    for name in ("on_message_begin", "on_body", "on_message_complete"):
        setattr(protocol, name, then_none(name))
