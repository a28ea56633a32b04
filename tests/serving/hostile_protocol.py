"""What is wrong before a body is read: the protocol, paths, headers, keys."""

from __future__ import annotations

from collections.abc import Iterator

from tests.serving.hostile import KEY, NO_ANSWER, Hostile, got, posted, wire
from tests.serving.hostile_bodies import TEXT

_JSON = {"Content-Type": "application/json"}
_GOOD = b'{"texts": ["a"]}'


def protocol() -> Iterator[Hostile]:
    """All of them."""
    yield from _framing()
    yield from _paths()
    yield from _headers()
    yield from _keys()


def _bare(name: str, request: bytes, *allowed: int, hangs_up: bool = False) -> Hostile:
    return Hostile(f"protocol: {name}", request, frozenset(allowed), bare=True, hangs_up=hangs_up)


def _text(
    name: str, headers: list[tuple[str, str]] | dict[str, str], content: bytes, *allowed: int
) -> Hostile:
    given = list(headers.items() if isinstance(headers, dict) else headers)
    return _bare(name, wire("POST", TEXT, [*_JSON.items(), *given], content), *allowed)


def _framing() -> Iterator[Hostile]:
    head = b"Host: test\r\nAuthorization: Bearer " + KEY.encode() + b"\r\n"
    refused = (400, NO_ANSWER)
    yield _bare("rubbish", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200, *refused)
    yield _bare("HTTP/0.9", b"GET /livez\r\n\r\n", 200, 505, *refused)
    yield _bare("HTTP/1.0", b"GET /livez HTTP/1.0\r\n\r\n", 200)
    yield _bare("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, *refused)
    yield _bare(
        "HTTP/9.9", b"GET /livez HTTP/9.9\r\nConnection: close\r\n" + head + b"\r\n", 200, 505, *refused
    )
    yield _bare("no host", b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n", 200, *refused)
    yield _bare(
        "two hosts", b"GET /livez HTTP/1.1\r\nConnection: close\r\n" + head * 2 + b"\r\n", 200, *refused
    )
    yield _bare("an absolute target", wire("GET", "http://other/livez"), 200, *refused)
    yield _bare("an authority as target", wire("CONNECT", "example.com:443"), 404, 405, *refused)
    yield _bare("an asterisk as target", wire("OPTIONS", "*"), 404, 405, *refused)
    yield _bare("no target", b"GET HTTP/1.1\r\n" + head + b"\r\n", *refused)
    yield _bare("a target of bytes", wire("GET", b"/\xff\xfe\x80"), 404, *refused)
    yield _bare("a target with a blank", wire("GET", "/livez x"), 404, *refused)
    yield _bare("a target with NUL", wire("GET", b"/livez\0"), 404, *refused)
    yield _bare("a fragment as target", wire("GET", "/livez#../x"), 200, 404, *refused)
    yield _bare("a host as target", wire("GET", "//[::1/livez"), 404, *refused)
    for method in ("BREW", "get", "G\0T", "A" * 5_000, "G ET", "", "PROPFIND", "PURGE", "TRACK"):
        yield _bare(f"method {method[:10]!r}", wire(method, "/livez"), 405, *refused)
    yield _text("a length of rubbish", {"Content-Length": "abc"}, _GOOD, *refused)
    yield _text("a length below zero", {"Content-Length": "-1"}, _GOOD, *refused)
    yield _text("a length of 5,000 digits", {"Content-Length": "9" * 5_000}, _GOOD, 413, *refused)
    yield _text("a length of 2^64", {"Content-Length": str(2**64)}, _GOOD, 413, *refused)
    yield _text("a length far too large", {"Content-Length": str(2**40)}, _GOOD, 413)
    yield _text("a length in hexadecimal", {"Content-Length": "0x10"}, _GOOD, *refused)
    yield _text("a length with a plus", {"Content-Length": "+16"}, _GOOD, *refused)
    yield _text("two lengths", [("Content-Length", "16"), ("Content-Length", "9")], _GOOD, *refused)
    yield _text("a length too short", {"Content-Length": "8"}, _GOOD, 400)
    both = {"Content-Length": "5", "Transfer-Encoding": "chunked"}
    yield _text("a length and chunks", both, b"10\r\n" + _GOOD + b"\r\n0\r\n\r\n", 200, *refused)
    chunked = {"Transfer-Encoding": "chunked"}
    yield _text("chunks", chunked, b"10\r\n" + _GOOD + b"\r\n0\r\n\r\n", 200)
    yield _text("a chunk of rubbish", chunked, b"xyz\r\n" + _GOOD + b"\r\n0\r\n\r\n", *refused)
    yield _text("a chunk below zero", chunked, b"-10\r\n" + _GOOD + b"\r\n0\r\n\r\n", *refused)
    yield _text("a chunk of 2^64", chunked, b"f" * 17 + b"\r\n" + _GOOD, *refused)
    yield _text("a chunk longer than it says", chunked, b"2\r\n" + _GOOD + b"\r\n0\r\n\r\n", *refused)
    many = b"1000\r\n" + b"a" * 4096 + b"\r\n"
    yield _text("chunks beyond the limit", chunked, many * 600 + b"0\r\n\r\n", 413)
    yield _text("10,000 small chunks", chunked, b"1\r\n \r\n" * 10_000 + b"0\r\n\r\n", 400)
    yield _text(
        "an unknown transfer encoding", {"Transfer-Encoding": "gzip, chunked, x"}, _GOOD, 400, 501, NO_ANSWER
    )
    yield _text(
        "an extension of a chunk",
        chunked,
        b"10;" + b"a" * 5000 + b"\r\n" + _GOOD + b"\r\n0\r\n\r\n",
        200,
        *refused,
    )
    yield _text("a wish to go on", {"Expect": "100-continue"}, _GOOD, 200)
    yield _text("another wish", {"Expect": "a-miracle"}, _GOOD, 200, 417)
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    yield _bare("a WebSocket", wire("GET", "/models", upgrade | key), 200, 403, 404, 426, *refused)
    h2c = {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABk"}
    yield _bare("HTTP/2 by upgrade", wire("GET", "/livez", h2c), 200, *refused)
    yield _bare(
        "a header folded",
        wire("GET", "/livez").replace(b"\r\n\r\n", b"\r\nX-A: a\r\n b\r\n\r\n"),
        200,
        *refused,
    )
    yield _bare("a header of bytes", wire("GET", "/livez", {"X-A": "\xff\xfe\x80"}), 200, *refused)
    yield _bare("a header of NULs", wire("GET", "/livez", {"X-A": "a\0b"}), *refused)
    yield _bare("a header without a name", wire("GET", "/livez", {"": "a"}), *refused)
    yield _bare(
        "a header without a colon", wire("GET", "/livez").replace(b"\r\n\r\n", b"\r\nabc\r\n\r\n"), *refused
    )
    yield _bare("a blank before a colon", wire("GET", "/livez", {"X-A ": "a"}), 200, *refused)
    yield _bare("a header of 200,000", wire("GET", "/livez", {"X-A": "a" * 200_000}), 200, 431, *refused)
    endless = b"X-A: " + b"a" * 3_000_000
    yield _bare("a header of 3 MB", b"GET /livez HTTP/1.1\r\nHost: test\r\n" + endless, *refused)
    yield _bare("headers of 3 MB", b"GET /livez HTTP/1.1\r\n" + b"X-A: a\r\n" * 400_000, *refused)
    yield _bare("a target of 3 MB", b"GET /" + b"a" * 3_000_000, *refused)
    yield _text(
        "trailers of 3 MB", chunked, b"10\r\n" + _GOOD + b"\r\n0\r\n" + b"X-A: a\r\n" * 400_000, *refused
    )
    yield _bare("5,000 headers", wire("GET", "/livez", [("X-A", "a")] * 5_000), 200, 431, *refused)
    yield _bare("line feeds alone", wire("GET", "/livez").replace(b"\r\n", b"\n"), 200, *refused)
    whole = wire("POST", TEXT, _JSON, _GOOD)
    for name, cut in (("line", 10), ("head", 60), ("body", len(whole) - 5)):
        yield _bare(f"gone in the middle of its {name}", whole[:cut], NO_ANSWER, hangs_up=True)
    yield _bare("gone before the answer", whole, NO_ANSWER, hangs_up=True)
    yield _bare("a body that stops", whole[:-5], 504)
    two = wire("GET", "/livez", {"Connection": "keep-alive"}) + wire("GET", "/models")
    yield _bare("two at once", two, 200)


def _paths() -> Iterator[Hostile]:
    for path in (
        "/nowhere",
        "//livez",
        "/livez/",
        "/LIVEZ",
        "/livez%00",
        "/%",
        "/%zz",
        "/%ff%fe",
        "/%ed%a0%80",
        "/%0d%0aX-Injected:%20yes",
        "/../../etc/passwd",
        "/page/../app.py",
        "/page/..%2fapp.py",
        "/page/%2e%2e/app.py",
        "/page/page.js%00.css",
        "/static_content/../../x",
        "/.env",
        "/.git/config",
        "/docs.json",
        "/schema.json",
        "/healthz",
        "/" + "a" * 20_000,
        "/" + "a/" * 5_000,
        "/encode/text/../text",
        "/models/toy",
    ):
        yield got(f"path {path[:30]}", path, 404)
    yield got("a query of 20,000", "/livez?" + "a" * 20_000, 200)
    yield got("a query of 20,000 fields", "/gallery?limit=1&" + "a=b&" * 5_000, 200)
    yield got("a query of rubbish", "/gallery?limit=%ff&&&=&%", 422)
    for method in ("PATCH", "PUT", "DELETE", "TRACE", "OPTIONS", "GET", "HEAD"):
        yield got(f"{method} of a text", TEXT, 405, method=method)
    yield got("POST of a page", "/", 405, method="POST")
    yield got("DELETE of everything", "/gallery", 405, method="DELETE")


def _headers() -> Iterator[Hostile]:
    for kind in (
        "",
        "text/plain",
        "json",
        "application/json" * 500,
        "\xff",
        "application/xml",
        "image/png",
        ";",
    ):
        request = wire("POST", TEXT, {"Content-Type": kind}, _GOOD)
        yield Hostile(f"content type {kind[:20]!r}", request, frozenset((415,)))
    for kind in ("application/json; charset=utf-16", "APPLICATION/JSON", "application/json;;;=="):
        yield posted(f"content type {kind}", TEXT, _GOOD, 200, 415, kind=kind)
    twice = wire("POST", TEXT, [("Content-Type", "application/json"), ("Content-Type", "image/png")], _GOOD)
    yield Hostile("two content types", twice, frozenset((200, 415)))
    squeezed = wire("POST", TEXT, {**_JSON, "Content-Encoding": "gzip"}, b"\x1f\x8b" + b"\0" * 50)
    yield Hostile("a body squeezed", squeezed, frozenset((400, 415)))
    for accept in (
        "image/png",
        "*/*;q=0",
        "\xff\xfe",
        ",",
        "a" * 20_000,
        "application/octet-stream;q=x",
        "text/html",
    ):
        request = wire("POST", TEXT, {**_JSON, "Accept": accept}, _GOOD)
        yield Hostile(f"Accept: {accept[:20]!r}", request, frozenset((200, 406)))
    for name, value in (
        ("X-Request-Id", "a b"),
        ("X-Request-Id", "a" * 10_000),
        ("X-Request-Id", "\xff"),
        ("X-Request-Id", "%0d%0aX-Injected: yes"),
        ("X-Request-Id", '{"level": "error"}'),
        ("traceparent", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"),
        ("traceparent", "zz-\xff"),
        ("X-Forwarded-For", "127.0.0.1, ' OR 1=1 --"),
        ("X-Forwarded-Proto", "gopher"),
        ("Forwarded", "for=\x01"),
        ("Origin", "null"),
        ("Origin", "\xff" * 500),
        ("Cookie", "a=b; " * 5_000),
        ("Range", "bytes=0-0,5-1,-9"),
        ("If-None-Match", '"' * 5_000),
        ("Host", "evil.example"),
        ("Host", "a" * 5_000),
        ("Host", "[::1"),
        ("Referer", "javascript:alert(1)"),
        ("X-HTTP-Method-Override", "DELETE"),
    ):
        request = wire("GET", "/models", {name: value})
        yield Hostile(f"{name}: {value[:20]!r}", request, frozenset((200, 400)), bare=True)


def _keys() -> Iterator[Hostile]:
    for value, status in (
        ("", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        ("bearer wrong", 403),
        ("Basic dXNlcjpwYXNz", 401),
        (f"Basic {KEY}", 401),
        (KEY, 401),
        (f"Bearer {KEY}x", 403),
        (f"Bearer {KEY[:-1]}", 403),
        (f"Bearer {KEY.upper()}", 403),
        (f"Bearer  {KEY}", 403),
        (f"Bearer {KEY}, Bearer {KEY}", 403),
        ("Bearer \xff\xfe", 403),
        ("Bearer " + "a" * 50_000, 403),
        ("Bearer ' OR 1=1 --", 403),
        ("Bearer null", 403),
        ("Bearer {}", 403),
    ):
        request = wire("POST", TEXT, {**_JSON, "Authorization": value}, _GOOD)
        yield Hostile(f"key {value[:40]!r}", request, frozenset((status, 431)))
    for path in ("/gallery/rebuild", "/models/reload"):
        request = wire("POST", path, {**_JSON, "Authorization": ""}, b"{}")
        yield Hostile(f"{path} without a key", request, frozenset((401,)))
    unread = wire("POST", TEXT, {**_JSON, "Authorization": ""}, b"a" * 3_000_000)
    yield Hostile("3 MB without a key", unread, frozenset((401,)), bare=True)
