"""`/gallery`: pictures in and out; `/search`: by text or picture."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.responses import JSONResponse, Response

from compressor.gallery.items import Item, NewItem
from serving import answers, inputs
from serving.call import Call
from serving.errors import ApiError, wrong
from serving.models import Model

MOST = 1_000
"""Answers of a search and items of a page."""


async def search(call: Call) -> Response:
    """The `k` pictures nearest to a text or a picture."""
    inputs.only(call.body, "model", "text", "image", "k", "filter")
    inputs.one_way(call.body, ("text",), ("image",))
    model, _ = call.embedder()
    k = call.value("k")
    count = 10 if k is None else inputs.number_of(k, "k", 1, MOST)
    where = inputs.structured(call.body, "filter")
    gallery = await call.galleries.of(model, call.deadline)
    started = time.perf_counter()
    query = await _query(call, model)
    encoded = time.perf_counter()
    with call.models.timed("index", model):
        (hits,) = await call.galleries.read(call.deadline, gallery.search, query, count, where)
    took = {"encode": encoded - started, "index": time.perf_counter() - encoded}
    return JSONResponse(
        {
            "model": model.name,
            "results": [asdict(hit) for hit in hits],
            "took_ms": {name: round(seconds * 1e3, 3) for name, seconds in took.items()},
        }
    )


async def _query(call: Call, model: Model) -> NDArray[Any]:
    if call.body.fields.get("text") is not None:
        text = inputs.text_of(call.body.fields["text"], "text", call.settings)
        return await call.embed_texts(model, [text])
    return np.stack(answers.all_or_error(await call.embed_images(model, [inputs.one_picture(call.body)])))


async def add(call: Call) -> Response:
    """Pictures in bulk, by id; all that can be added are there at once when the answer comes."""
    inputs.only(call.body, "model", "items")
    model, _ = call.embedder()
    files, described = _items(call)
    gallery = await call.galleries.of(model, call.deadline)
    rows = await call.embed_images(model, files)
    good = [k for k, row in enumerate(rows) if not isinstance(row, ApiError)]
    items = [NewItem(described[k][0], _bytes(files[k]), described[k][1]) for k in good]
    errors: dict[int, Any] = {k: row.content() for k, row in enumerate(rows) if isinstance(row, ApiError)}
    if good:
        vectors = np.stack([row for row in rows if not isinstance(row, ApiError)])
        added = await call.galleries.change(call.deadline, gallery, gallery.add, items, vectors)
        errors |= {good[e.index]: wrong(e.reason, f"items[{good[e.index]}]").content() for e in added.errors}
    if len(errors) == len(rows):
        first = next((row for row in rows if isinstance(row, ApiError)), None)
        raise first or wrong(errors[0]["message"], errors[0]["param"])
    results = [
        {"index": k, "id": described[k][0], **({"error": errors[k]} if k in errors else {})}
        for k in range(len(rows))
    ]
    return JSONResponse({"added": len(rows) - len(errors), "results": results})


def _items(call: Call) -> tuple[list[bytes | ApiError], list[tuple[str, Any]]]:
    """Files, and id and metadata of each: from a form with a field `items`, or from JSON."""
    listed = inputs.list_of(inputs.structured(call.body, "items"), "items", call.settings)
    described = []
    for k, item in enumerate(listed):
        if not isinstance(item, dict) or not isinstance(item.get("id"), str):
            raise wrong("is an object with an id, a string", f"items[{k}]")
        strange = set(item) - {"id", "image", "metadata"}
        if strange:
            raise wrong(f"has a field that is not known: {min(strange)[:80]}", f"items[{k}]")
        described.append((item["id"], item.get("metadata", {})))
    if len({name for name, _ in described}) < len(described):
        raise wrong("names an id twice", "items")
    sent = [file for group in call.body.files.values() for file in group]
    if sent and len(sent) != len(listed):
        raise wrong(f"has {len(listed)} entries for {len(sent)} files", "items")
    files: list[bytes | ApiError] = list(sent) or [
        inputs.picture_or_error(item.get("image"), f"items[{k}].image") for k, item in enumerate(listed)
    ]
    return files, described


def _bytes(file: bytes | ApiError) -> bytes:
    assert isinstance(file, bytes)
    return file


async def show(call: Call) -> Response:
    """How many there are, how they are searched, and a page of them in the order of ids.

    A gallery of another bundle is shown too, and how far its rebuild is.
    """
    model, _ = call.embedder()
    limit, cursor = call.value("limit"), call.value("cursor")
    most = 50 if limit is None else inputs.number_of(limit, "limit", 0, MOST)
    served, other = call.galleries, None
    try:
        gallery = await served.of(model, call.deadline)
    except ApiError as error:
        if error.code != "other_bundle":
            raise
        other = error.message
        gallery = await served.whatever_is_there(model, call.deadline)
    facts = await served.read(call.deadline, gallery.info)
    page = await served.read(call.deadline, gallery.page, cursor, most) if most else None
    job = await served.rebuilt(model, call.deadline)
    return JSONResponse(
        {
            "count": facts["items"],
            "items": [_shown(item) for item in page.items] if page else [],
            "next_cursor": page.cursor if page else None,
            "index": {"search": facts["search"], "recall": facts["index"]},
            "other_bundle": other,
            "rebuild": job and job.shown(),
        }
    )


async def rebuild(call: Call) -> Response:
    """The gallery is embedded again for the model, behind this answer."""
    inputs.only(call.body, "model", "leave_out")
    model, _ = call.embedder()
    leave_out = call.body.fields.get("leave_out", False)
    if not isinstance(leave_out, bool):
        raise wrong("is true or false", "leave_out")
    job = await call.galleries.rebuild(model, leave_out, call.deadline)
    return JSONResponse(job.shown(), 202)


async def get(call: Call) -> Response:
    """One item."""
    gallery = await _gallery(call)
    item = await call.galleries.read(call.deadline, gallery.get, call.item)
    if item is None:
        raise _no_item(call)
    return JSONResponse(_shown(item))


async def thumbnail(call: Call) -> Response:
    """An item's picture, of at most 256 pixels a side."""
    gallery = await _gallery(call)
    picture = await call.galleries.read(call.deadline, gallery.thumbnail, call.item)
    if picture is None:
        raise _no_item(call)
    return Response(picture, media_type="image/jpeg")


async def delete(call: Call) -> Response:
    """One item goes."""
    gallery = await _gallery(call)
    deleted = await call.galleries.change(call.deadline, gallery, gallery.delete, [call.item])
    if not deleted:
        raise _no_item(call)
    return JSONResponse({"deleted": deleted})


async def delete_many(call: Call) -> Response:
    """Items go, in one step; those that are not there are no error."""
    inputs.only(call.body, "model", "ids")
    gallery = await _gallery(call)
    ids = inputs.texts_of(call.body.fields.get("ids"), "ids", call.settings)
    deleted = await call.galleries.change(call.deadline, gallery, gallery.delete, ids)
    return JSONResponse({"deleted": deleted})


async def _gallery(call: Call) -> Any:
    return await call.galleries.of(call.embedder()[0], call.deadline)


def _shown(item: Item) -> dict[str, Any]:
    return {
        name: value for name, value in asdict(item).items() if name in ("id", "metadata", "width", "height")
    }


def _no_item(call: Call) -> ApiError:
    return ApiError(404, "no_such_item", f"there is no item '{(call.item or '')[:80]}'", "id")
