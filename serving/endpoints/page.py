"""The page to try the service with: files of the package, with a policy that lets nothing else in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from starlette.responses import Response

from serving.call import Call

WEB = Path(__file__).parents[1] / "web"
_TYPES = {".css": "text/css", ".js": "text/javascript"}
FILES = {"/": ("index.html", "text/html")} | {
    f"/page/{file.name}": (file.name, _TYPES[file.suffix])
    for file in sorted(WEB.iterdir())
    if file.suffix in _TYPES
}
"""The file and media type of every path of the page."""
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


@dataclass(frozen=True)
class _File:
    content: bytes
    media_type: str
    etag: str


async def show(call: Call) -> Response:
    """A file of the page; 304 for a caller that has it."""
    file = _read(call.request.url.path)
    headers = {"ETag": file.etag, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
    had = {tag.strip().removeprefix("W/") for tag in call.request.headers.get("if-none-match", "").split(",")}
    if had & {file.etag, "*"}:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)


@cache
def _read(path: str) -> _File:
    name, media_type = FILES[path]
    content = (WEB / name).read_bytes()
    return _File(content, media_type, f'"{sha256(content).hexdigest()[:32]}"')
