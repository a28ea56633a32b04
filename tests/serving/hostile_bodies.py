"""JSON and forms that are malformed, of the wrong types, too much, or meant for something else."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from tests.serving.hostile import Hostile, posted
from tests.serving.hostile_pictures import saved

TEXT, IMAGE, CLASSIFY, RANK, SEARCH = "/encode/text", "/encode/image", "/classify", "/rank", "/search"
OPENAI, GALLERY = "/v1/embeddings", "/gallery"
PICTURE = "data:image/png;base64," + base64.b64encode(saved("PNG")).decode()
_JSON, _WRONG, _LARGE = 400, 422, 413
HALF = "\ud800"
"""Half of a surrogate pair: JSON can spell it, UTF-8 cannot."""


def bodies() -> Iterator[Hostile]:
    """All of them."""
    yield from _malformed()
    yield from _types()
    yield from _texts()
    yield from _halves()
    yield from _numbers()
    yield from _forms()


def _malformed() -> Iterator[Hostile]:
    sent: dict[str, bytes | str] = {
        "nothing": b"",
        "a brace": "{",
        "a list": "[]",
        "null": "null",
        "a string": '"texts"',
        "a number": "7",
        "two objects": '{"texts": ["a"]}{"texts": ["a"]}',
        "a comma too many": '{"texts": ["a",]}',
        "single quotes": "{'texts': ['a']}",
        "a comment": '{"texts": ["a"]} // well',
        "NaN": '{"texts": NaN}',
        "Infinity": '{"texts": [Infinity]}',
        "-Infinity": '{"texts": ["a"], "model": -Infinity}',
        "a key twice": '{"texts": ["a"], "texts": ["b"]}',
        "a byte order mark": b'\xef\xbb\xbf{"texts": ["a"]}',
        "UTF-16": '{"texts": ["a"]}'.encode("utf-16"),
        "UTF-8 that is none": b'{"texts": ["\xff\xfe\x80"]}',
        "UTF-8 of a surrogate": b'{"texts": ["\xed\xa0\x80"]}',
        "UTF-8 too long": b'{"texts": ["\xc0\xaf"]}',
        "a control character": '{"texts": ["a\nb"]}',
        "a wrong escape": r'{"texts": ["\x41"]}',
        "an escape cut off": r'{"texts": ["\ud8',
        "100 lists deep": '{"texts": ' + "[" * 100 + "]" * 100 + "}",
        "100,000 lists deep": '{"texts": ' + "[" * 100_000 + "]" * 100_000 + "}",
        "100,000 objects deep": '{"a":' * 100_000 + "1" + "}" * 100_000,
        "100,000 brackets": "[" * 100_000,
        "5,000 digits": '{"texts": ' + "9" * 5_000 + "}",
        "NULs": b"\0" * 1000,
        "a form": "texts=a&texts=b",
        "pickled": b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x02os\x94.",
    }
    for name, content in sent.items():
        yield posted(f"JSON: {name}", TEXT, content, _JSON)
    yield posted("JSON: 600,000 empty lists", TEXT, '{"texts": [' + "[]," * 600_000 + "[]]}", _LARGE)
    yield posted("JSON: 900,000 numbers", TEXT, '{"texts": [' + "1," * 900_000 + "1]}", _LARGE)
    yield posted("JSON: 100,000 keys", TEXT, {f"k{number}": 1 for number in range(100_000)}, _WRONG)


def _types() -> Iterator[Hostile]:
    strange: dict[str, Any] = {
        "null": None,
        "true": True,
        "a number": 7,
        "a fraction": 1.5,
        "an object": {"a": 1},
        "an empty list": [],
        "a list of lists": [["a"]],
        "a list of null": [None],
        "a list of numbers": [1, 2],
        "a list of objects": [{"text": "a"}],
    }
    for name, value in strange.items():
        yield posted(f"texts: {name}", TEXT, {"texts": value}, _WRONG)
        yield posted(f"input: {name}", OPENAI, {"input": value}, _WRONG)
        yield posted(f"images: {name}", IMAGE, {"images": value}, _WRONG)
        yield posted(f"labels: {name}", CLASSIFY, {"image": PICTURE, "labels": value}, _WRONG)
        yield posted(f"items: {name}", GALLERY, {"items": value}, _WRONG)
        yield posted(f"ids: {name}", "/gallery/delete", {"ids": value}, _WRONG)
        if value is not None:  # which is the same as leaving it out
            yield posted(f"model: {name}", TEXT, {"texts": ["a"], "model": value}, _WRONG)
            yield posted(f"encoding_format: {name}", OPENAI, {"input": "a", "encoding_format": value}, _WRONG)
            yield posted(f"search for: {name}", SEARCH, {"text": value}, _WRONG)
            yield posted(f"rank: {name}", RANK, {"image": value, "texts": ["a"]}, _WRONG)
    for name in ("__proto__", "constructor", "__class__", "", "texts\0", "a" * 10_000, "texts.0", "$where"):
        yield posted(f"unknown field: {name[:20]!r}", TEXT, {"texts": ["a"], name: {"a": 1}}, _WRONG)
    yield posted("nothing that rank needs", RANK, {}, _WRONG)
    yield posted("rank: both ways at once", RANK, {"image": PICTURE, "texts": ["a"], "text": "b"}, _WRONG)
    yield posted("search: neither", SEARCH, {}, _WRONG)
    yield posted("search: both", SEARCH, {"text": "a", "image": PICTURE}, _WRONG)
    for name, given in (
        ("no base64", "@@@@"),
        ("base64 cut", PICTURE[:-3]),
        ("nothing", ""),
        ("a data URL of nothing", "data:image/png;base64,"),
        ("a data URL without base64", "data:image/svg+xml,<svg/>"),
        ("a path", "/etc/passwd"),
        ("a file URL", "file:///etc/passwd"),
        ("an address", "https://example.com/a.png"),
        ("not ASCII", "ä" * 100),
        ("parameters by the thousand", "data:image/png" + ";a=b" * 50_000 + ",x"),
    ):
        yield posted(f"image: {name}", IMAGE, {"images": [given]}, 400, 415)
    for address in ("http://169.254.169.254/", "file:///etc/passwd", "gopher://a", HALF, 7, None):
        yield posted(f"address: {address!r}", IMAGE, {"images": [{"url": address}]}, 400, _WRONG)


def _texts() -> Iterator[Hostile]:
    for name, text in {"empty": "", "blank": "  \t\n", "of blanks of Unicode": "\u2003\u3000"}.items():
        yield posted(f"text {name}", TEXT, {"texts": [text]}, _WRONG)
        yield posted(f"search for a text {name}", SEARCH, {"text": text}, _WRONG)
    fine = {
        "of NULs": "\0" * 100,
        "of control characters": "\x01\x02\x1b[31m\x7f",
        "of right-to-left marks": "\u202e\u2066abc\u2069",
        "of joined accents": "a" + "\u0301" * 5_000,
        "of joined emoji": "👩‍👩‍👧‍👦" * 1_000,
        "without blanks": "x" * 100_000,
        "of special tokens": "<|endoftext|><|startoftext|></s>[MASK]" * 100,
        "of SQL": "'; DROP TABLE items; --",
        "of a format": "%s%n{0.__class__}${jndi:ldap://a}",
        "of private and unassigned characters": "\ue000\U0010ffff\ufffe",
    }
    for name, text in fine.items():
        yield posted(f"text {name}", TEXT, {"texts": [text]}, 200)
    yield posted("text of 1 MB", TEXT, {"texts": ["a" * 1_000_000]}, _LARGE)
    yield posted("texts of 3 MB", TEXT, {"texts": ["a" * 1000] * 3000}, _LARGE)
    yield posted("257 texts", TEXT, {"texts": ["a"] * 257}, _LARGE)
    yield posted("257 inputs", OPENAI, {"input": ["a"] * 257}, _LARGE)
    yield posted("100,000 texts", TEXT, {"texts": ["a"] * 100_000}, _LARGE)
    yield posted("257 labels by templates", CLASSIFY, _labelled(["a"] * 129, ["{}"] * 2), _LARGE)
    for template in ("no place", "{} {}", "{0}", "{x.__class__}", "{", "%s"):
        yield posted(f"template {template}", CLASSIFY, _labelled(["a"], [template]), _WRONG)
    yield posted("label of braces", CLASSIFY, _labelled(["{}{}{0}"], ["a {}"]), 200)


def _labelled(labels: list[str], templates: list[str]) -> dict[str, Any]:
    return {"image": PICTURE, "labels": labels, "templates": templates}


def _halves() -> Iterator[Hostile]:
    """What an answer would have to repeat in UTF-8 if it were taken."""
    item = {"id": "half", "image": PICTURE}
    for name, path, content in (
        ("text", TEXT, {"texts": [HALF]}),
        ("input", OPENAI, {"input": f"a {HALF}"}),
        ("label", CLASSIFY, _labelled([HALF, "b"], ["a {}"])),
        ("template", CLASSIFY, _labelled(["a"], [HALF + "{}"])),
        ("model", TEXT, {"texts": ["a"], "model": HALF}),
        ("encoding", OPENAI, {"input": "a", "encoding_format": HALF}),
        ("user", OPENAI, {"input": "a", "user": HALF}),
        ("field", TEXT, {"texts": ["a"], HALF: 1}),
        ("image", IMAGE, {"images": [HALF]}),
        ("query", SEARCH, {"text": HALF}),
        ("k", SEARCH, {"text": "a", "k": HALF}),
        ("filter key", SEARCH, {"text": "a", "filter": {HALF: 1}}),
        ("filter value", SEARCH, {"text": "a", "filter": {"a": HALF}}),
        ("filter operator", SEARCH, {"text": "a", "filter": {"a": {HALF: 1}}}),
        ("id", GALLERY, {"items": [item | {"id": HALF}, item]}),
        ("id to delete", "/gallery/delete", {"ids": [HALF]}),
        ("metadata key", GALLERY, {"items": [item | {"metadata": {HALF: 1}}]}),
        ("metadata value", GALLERY, {"items": [item | {"metadata": {"a": HALF}}]}),
        ("field of an item", GALLERY, {"items": [item | {HALF: 1}]}),
        ("question", "/answer", {"image": PICTURE, "questions": [HALF]}),
        ("model to reload", "/models/reload", {"model": HALF}),
        ("model to rebuild for", "/gallery/rebuild", {"model": HALF}),
    ):
        yield posted(f"half a character as {name}", path, content, _JSON)


def _numbers() -> Iterator[Hostile]:
    for k in (0, -1, 1.5, 10**9, 10**400, True, [], {}, "0", "-1", "1e3", "", "٣", "9" * 5_000, 1001):
        yield posted(f"k = {k!r:.12}", SEARCH, {"text": "a", "k": k}, _WRONG)
    for spelt in ("1e400", "-1e400", "1E999999", "0.1", "1e-400"):
        yield posted(f"k = {spelt}", SEARCH, f'{{"text": "a", "k": {spelt}}}', _WRONG)
    for dimensions in (0, 1, -1, 2**40, True, "x", 1.0, [1]):
        sent = {"input": "a", "dimensions": dimensions}
        yield posted(f"dimensions = {dimensions!r}", OPENAI, sent, _WRONG)
    for beams in (0, -1, 17, 10**9, "x"):
        yield posted(f"beams = {beams}", "/caption", {"image": PICTURE, "beams": beams}, 409, _WRONG)


def part(head: str | bytes, content: bytes = b"a") -> bytes:
    """A part of a form whose boundary is `b`."""
    return b"--b\r\n" + (head.encode() if isinstance(head, str) else head) + b"\r\n\r\n" + content + b"\r\n"


def _forms() -> Iterator[Hostile]:
    kind, end = "multipart/form-data; boundary=b", b"--b--\r\n"
    named = 'Content-Disposition: form-data; name="images"; filename="a.png"'
    picture = saved("PNG")
    good = part(named, picture)

    def form(name: str, content: bytes, *allowed: int, kind: str = kind, path: str = IMAGE) -> Hostile:
        return posted(f"form: {name}", path, content, *allowed, kind=kind)

    yield form("no boundary", good + end, 400, kind="multipart/form-data")
    yield form("an empty boundary", good + end, 400, kind='multipart/form-data; boundary=""')
    yield form("another boundary", good + end, 400, kind="multipart/form-data; boundary=c")
    yield form("a boundary of 10,000", good + end, 400, kind=f"multipart/form-data; boundary={'b' * 10_000}")
    yield form("two boundaries", good + end, 200, 400, kind=kind + "; boundary=c")
    yield form("a boundary in quotes", good + end, 200, kind='multipart/form-data; boundary="b"')
    yield form("mixed", good + end, 415, kind="multipart/mixed; boundary=b")
    for share in (0.1, 0.5, 0.9):
        yield form(f"cut at {share:.0%}", (good + end)[: int(len(good + end) * share)], 400)
    yield form("nothing", b"", 400)
    yield form("its end alone", end, 400, _WRONG)
    yield form("no part's end", b"--b\r\n" + named.encode() + b"\r\n\r\n--b--", 400, _WRONG)
    inner = part("Content-Disposition: form-data; name=images", picture).replace(b"--b", b"--c") + b"--c--"
    nested = named + "\r\nContent-Type: multipart/mixed; boundary=c"
    yield form("nested", part(nested, inner) + end, 400, 415)
    yield form("a field twice", part('Content-Disposition: form-data; name="model"') * 2 + good + end, 400)
    yield form(
        "no filename", part('Content-Disposition: form-data; name="images"', picture) + end, 400, _WRONG
    )
    yield form("no name", part("Content-Disposition: form-data") + end, 400)
    yield form("no disposition", part("Content-Type: image/png", picture) + end, 400)
    yield form("no headers", b"--b\r\n\r\na\r\n" + end, 400)
    yield form("a header without a colon", part("Content-Disposition") + end, 400)
    yield form("a header of 100,000", part(named + "\r\nX-A: " + "a" * 100_000, picture) + end, 200, 400)
    yield form("10,000 headers", part(named + "\r\nX-A: a" * 10_000, picture) + end, 200, 400)
    yield form("a header of NULs", part(named.encode() + b"\r\nX-\0: \0", picture) + end, 200, 400)
    yield form("NUL in a name", part('Content-Disposition: form-data; name="a\0b"') + good + end, 400, _WRONG)
    raw = b'Content-Disposition: form-data; name="\xff\xfe"'
    yield form("a name that is not UTF-8", part(raw) + good + end, 400, _WRONG)
    yield form("an empty name", part('Content-Disposition: form-data; name=""') + good + end, _WRONG)
    for file in (
        "../../etc/passwd",
        "..\\..\\x",
        "a\0.png",
        "/dev/null",
        "a" * 10_000,
        "%2e%2e%2f",
        "<script>",
    ):
        head = f'Content-Disposition: form-data; name="images"; filename="{file}"'
        yield form(f"a file called {file[:20]!r}", part(head, picture) + end, 200, 400)
    star = "Content-Disposition: form-data; name*=utf-8''%ff%fe; filename*=x''y"
    yield form("names in the form of RFC 2231", part(star, picture) + end, 200, 400, _WRONG)
    yield form("text before and after", b"before\r\n" + good + end + b"after", 200, 400)
    yield form("1,001 fields", _fields(1001) + end, 400, _LARGE)
    yield form("1,000 fields", _fields(1000) + end, _WRONG)
    yield form("1,000 files", part(named, b"x") * 1000 + end, _LARGE)
    yield form("20,000 files", part(named, b"") * 20_000 + end, 400, _LARGE)
    yield form("line feeds alone", (good + end).replace(b"\r\n", b"\n"), 200, 400)
    model = part('Content-Disposition: form-data; name="model"', b"+2AA-")
    for charset in ("utf-7", "unicode_escape", "punycode", "zlib", "utf-16", "idna", "a\tb", "x" * 5_000):
        yield form(f"charset {charset[:20]}", model + good + end, 400, 404, kind=f"{kind}; charset={charset}")
    slow = part('Content-Disposition: form-data; name="model"', b"-" + b"a" * 1_500_000)
    yield form("a charset that takes long", slow + good + end, 400, 404, kind=f"{kind}; charset=punycode")
    field = part('Content-Disposition: form-data; name="_charset_"', b"utf-7")
    yield form("a charset as a field", field + good + end, 400, _WRONG)
    encoded = named + "\r\nContent-Transfer-Encoding: base64"
    yield form(
        "base64 as the encoding of a part", part(encoded, base64.b64encode(picture)) + end, 200, 400, 415
    )
    yield from _structured(form, good, end)


def _fields(count: int) -> bytes:
    return b"".join(part(f'Content-Disposition: form-data; name="f{number}"') for number in range(count))


def _structured(form: Any, good: bytes, end: bytes) -> Iterator[Hostile]:
    """JSON in a field of a form, which is held to the same as a body."""
    for name, items in (
        ("no JSON", "{"),
        ("NaN", '[{"id": "a", "metadata": {"a": NaN}}]'),
        ("a key twice", '[{"id": "a", "id": "b"}]'),
        ("half a character", json.dumps([{"id": HALF}])),
        ("half a character in metadata", json.dumps([{"id": "a", "metadata": {"a": HALF}}])),
        ("100,000 lists deep", "[" * 100_000 + "]" * 100_000),
        ("200 lists deep", "[" * 200 + "]" * 200),
        ("5,000 digits", "9" * 5000),
        ("an object", "{}"),
        ("a string", '"a"'),
        ("too many", json.dumps([{"id": str(number)} for number in range(300)])),
        ("other than there are files", json.dumps([{"id": "a"}, {"id": "b"}])),
    ):
        head = 'Content-Disposition: form-data; name="items"'
        sent = part(head, items.encode()) + good + end
        yield form(f"items of {name}", sent, 400, _WRONG, _LARGE, path=GALLERY)
