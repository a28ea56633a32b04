"""Ids, metadata, filters, pages and models that are not there, not allowed, or mean something elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import quote

from tests.serving.hostile import Hostile, got, posted
from tests.serving.hostile_bodies import GALLERY, HALF, PICTURE, SEARCH, TEXT


def galleries() -> Iterator[Hostile]:
    """All of them. They want an item `one` in the gallery, and a model `other` whose gallery it is not."""
    yield from _items()
    yield from _added()
    yield from _filters()
    yield from _pages()
    yield from _models()


IDS = (
    "unknown",
    "a/b",
    "a b",
    'a"b',
    "' OR 1=1 --",
    "'; DROP TABLE items; --",
    "a\\",
    "ä",
    "日本",
    "%",
    "%25",
    "_",
    "*",
    ".",
    "..",
    "../..",
    "🌟",
    "delete",
    "image",
)
UNPRINTABLE = ("\0", "\r\n", "\u202e", "a" * 257, "a" * 10_000, "\u2028", "\ufeff", "👩‍👩‍👧‍👦")


def _items() -> Iterator[Hostile]:
    for id in (*IDS, *UNPRINTABLE):
        path, allowed = f"{GALLERY}/{quote(id, safe='')}", (404,) if id in IDS else (404, 422)
        shown = f"{id[:20]!r} of {len(id)}"
        yield got(f"item {shown}", path, *allowed)
        yield got(f"thumbnail of {shown}", path + "/image", *allowed)
        yield got(f"delete {shown}", path, *allowed, method="DELETE")
    yield got("an item without an id", "/gallery/", 404)
    yield got("a thumbnail without an id", "/gallery//image", 404)
    yield got("an item of bytes", "/gallery/%ff%fe", 404, 422)
    yield got("an item of half a character", "/gallery/%ed%a0%80", 404, 422)
    yield got("an item by another method", "/gallery/a", 405, method="PATCH")
    yield got("delete as an item", "/gallery/delete", 404)


def _added() -> Iterator[Hostile]:
    good = {"id": "hostile", "image": PICTURE}
    for id in ("", *UNPRINTABLE, 7, None, [], {}):
        yield posted(
            f"add with id {str(id)[:20]!r} of {len(str(id))}", GALLERY, {"items": [good | {"id": id}]}, 422
        )
    for metadata in (
        7,
        "a",
        [1],
        {"a": None},
        {"a": [1]},
        {"a": {"b": {"c": 1}}},
        {"": 1},
        {"and": 1},
        {"a" * 65: 1},
        {"a\n": 1},
        {"a": "x" * 5_000},
        {"a": 2**60},
        {"a": 10**400},
        {str(number): number for number in range(65)},
        {str(number): "ä" * 4_000 for number in range(8)},
    ):
        shown = json.dumps(metadata)[:30]
        yield posted(f"metadata {shown}", GALLERY, {"items": [good | {"metadata": metadata}]}, 422)
    for spelt, status in (("NaN", 400), ("1e400", 422), ("-Infinity", 400)):
        content = json.dumps({"items": [good | {"metadata": {"a": 7.5}}]}).replace("7.5", spelt)
        yield posted(f"metadata of {spelt}", GALLERY, content, status)
    for key in ("a.b", "a'b", 'a"b', "a b", "$where", "ä", "items.id", "__proto__", "0", "--"):
        sent = {"items": [good | {"metadata": {key: "' OR 1=1 --"}}]}
        yield posted(f"metadata key {key}", GALLERY, sent, 200)
        yield posted(f"filter key {key}", SEARCH, {"text": "a", "filter": {key: "' OR 1=1 --"}}, 200)
    yield posted("an id twice", GALLERY, {"items": [good, good]}, 422)
    yield posted("300 items", GALLERY, {"items": [good | {"id": str(k)} for k in range(300)]}, 413)
    yield posted("100,000 ids", "/gallery/delete", {"ids": [str(k) for k in range(100_000)]}, 413)
    yield posted("256 ids of SQL", "/gallery/delete", {"ids": [f"' OR {k}={k} --" for k in range(256)]}, 200)


def _filters() -> Iterator[Hostile]:
    for where in (
        "1=1",
        7,
        [],
        [{"a": 1}],
        True,
        {"a": None},
        {"a": []},
        {"a": {}},
        {"a": {"like": "%"}},
        {"a": {"$gt": ""}},
        {"a": {"gte": True}},
        {"a": {"gte": [1]}},
        {"a": {"in": "abc"}},
        {"a": {"in": [[1]]}},
        {"a": {"in": list(range(1_001))}},
        {"a": {"exists": 1}},
        {"a": {"eq": {"eq": 1}}},
        {"and": {}},
        {"or": [1]},
        {"not": []},
        {"not": {"not": {"not": 1}}},
        {"and": [{"a": 1}] * 300},
        {"a": 10**400},
        {"a": 2**60},
        {"a": "x" * 5_000},
    ):
        yield posted(f"filter {json.dumps(where)[:40]}", SEARCH, {"text": "a", "filter": where}, 400)
    deep = '{"not":' * 40 + '{"a":1}' + "}" * 40
    yield posted("filter 40 deep", SEARCH, '{"text": "a", "filter": ' + deep + "}", 400)
    for spelt in ("NaN", "1e400"):
        yield posted(f"filter of {spelt}", SEARCH, f'{{"text": "a", "filter": {{"a": {spelt}}}}}', 400)
    for where in (
        {},
        {"a": "b"},
        {"id": "' OR 1=1 --"},
        {"' OR 1=1 --": 1},
        {"a": {"gt": "x", "lt": 1}},
        {"or": []},
    ):
        yield posted(f"filter {json.dumps(where)}", SEARCH, {"text": "a", "filter": where}, 200)


def _pages() -> Iterator[Hostile]:
    for cursor in ("x", "' OR 1=1 --", "zzz", "%F0%9F%8C%9F"):
        yield got(f"cursor {cursor}", f"/gallery?cursor={quote(cursor)}", 200)
    for cursor in ("", "%00", "%0a", "a" * 300):
        yield got(f"cursor {cursor[:20]!r}", f"/gallery?cursor={cursor}", 200, 422)
    for limit in ("", "-1", "x", "1.5", "1e3", "1001", "9" * 5_000, "%00", "٣", "true", "0x10", "1%20"):
        yield got(f"limit {limit[:20]!r}", f"/gallery?limit={quote(limit, safe='%')}", 422)
    yield got("two limits", "/gallery?limit=1&limit=x", 200, 422)


def _models() -> Iterator[Hostile]:
    for name in (
        "unknown",
        "../../etc",
        "/etc/passwd",
        "",
        "TOY",
        "toy\0",
        "toy ",
        "%00",
        "a" * 20_000,
        "__class__",
    ):
        yield posted(f"model {name[:20]!r}", TEXT, {"texts": ["a"], "model": name}, 404)
        yield posted(f"reload {name[:20]!r}", "/models/reload", {"model": name}, 404)
    yield got("model in the query", "/gallery?model=%ff'--", 404)
    yield posted("reload: a list", "/models/reload", {"model": ["toy"]}, 422)
    yield posted("reload: another folder", "/models/reload", {"model": "toy", "folder": "/etc"}, 422)
    yield posted("rebuild: a word", "/gallery/rebuild", {"leave_out": "yes"}, 422)
    yield posted("rebuild: another place", "/gallery/rebuild", {"gallery": "/etc"}, 422)
    for path in ("/caption", "/answer"):
        yield posted(f"{path} of a model that embeds", path, {"image": PICTURE, "questions": ["a"]}, 409, 422)
    other = {"model": "other"}
    yield posted("search: gallery of another bundle", SEARCH, {"text": "a", **other}, 409)
    yield posted(
        "add: gallery of another bundle", GALLERY, {"items": [{"id": "a", "image": PICTURE}], **other}, 409
    )
    yield posted("delete: gallery of another bundle", "/gallery/delete", {"ids": ["a"], **other}, 409)
    yield got("item: gallery of another bundle", "/gallery/a?model=other", 409)
    yield got("page: gallery of another bundle", "/gallery?model=other", 200)
    yield posted(
        "half a character in a form", SEARCH, f"text={HALF!r}", 415, kind="application/x-www-form-urlencoded"
    )
