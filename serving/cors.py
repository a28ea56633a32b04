"""Which pages of other origins may call the service from a browser: none unless their origins are allowed.

Starlette's middleware answers preflights by itself, in plain text and past the request ids and the log; here
they are answers like all others. There are no cookies, so that credentials are never allowed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.responses import Response

_METHODS = "GET, HEAD, POST, DELETE"
_SENT = "Authorization, Content-Type, X-Request-Id, traceparent, tracestate"
_SHOWN = "Retry-After, X-Dtype, X-Request-Id, X-Shape"
_SECONDS = "600"
"""That a browser may remember a preflight's answer."""


class Cors:
    """The headers for origins that are allowed (`Settings.cors`); `*` allows all."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origins)
        self._all = "*" in self._origins

    def headers(self, asked: Mapping[str, str]) -> dict[str, str]:
        """What an answer to a request with headers `asked` says of origins. Errors are answers too."""
        if self._all:
            return {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": _SHOWN}
        if not self._origins:
            return {}
        # A cache must not give one origin what it keeps for another, nor for none.
        varying, origin = {"Vary": "Origin"}, asked.get("origin", "")
        if origin not in self._origins:
            return varying
        return {**varying, "Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": _SHOWN}

    def preflight(self, method: str, asked: Mapping[str, str]) -> Response | None:
        """The answer to a browser that asks whether it may ask; None for any other request.

        None also for an origin that is not allowed: to that one the service answers as if CORS were off.
        """
        allowed = self._all or asked.get("origin", "") in self._origins
        if method != "OPTIONS" or not allowed or "access-control-request-method" not in asked:
            return None
        headers = {"Allow-Methods": _METHODS, "Allow-Headers": _SENT, "Max-Age": _SECONDS}
        return Response(
            status_code=204, headers={f"Access-Control-{name}": value for name, value in headers.items()}
        )
