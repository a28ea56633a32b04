"""Every method of the clients as requests and the reading of their answers; they themselves only send."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

from compressor.client import answers
from compressor.client.chunks import Limits, chunks, many, picture_bytes
from compressor.client.results import (
    Added,
    AddedItem,
    Answered,
    Caption,
    Classified,
    Found,
    Item,
    NewItem,
    Page,
    Picture,
    Ranking,
    ServedModel,
)
from compressor.client.wire import OCTETS, Call, Calls, Reply, Request, form_request, json_request
from compressor.errors import DataError

NOTHING_DONE = (400, 413, 415, 422)
"""Where the service did none of the items of a request."""
_DELETED_AT_ONCE = 1_000


def embed_texts(texts: Iterable[str], model: str | None, limits: Limits) -> Calls[answers.Rows, answers.Rows]:
    """Rows of texts."""

    def calls() -> Iterator[Call[answers.Rows]]:
        for start, chunk in chunks(_texts(texts, "texts"), len, limits):
            request = json_request("/encode/text", {"model": model, "texts": chunk}, OCTETS)
            yield Call(request, partial(answers.rows, count=len(chunk)), items=(start, start + len(chunk)))

    return Calls(_some(calls(), "there is no text to embed"), answers.joined)


def embed_images(
    images: Iterable[Picture], model: str | None, limits: Limits
) -> Calls[answers.Rows, answers.Rows]:
    """Rows of pictures."""

    def calls() -> Iterator[Call[answers.Rows]]:
        for start, chunk in chunks(map(picture_bytes, many(images, "images")), len, limits):
            request = form_request("/encode/image", {"model": model}, "images", chunk, OCTETS)
            yield Call(request, partial(answers.rows, count=len(chunk)), items=(start, start + len(chunk)))

    return Calls(_some(calls(), "there is no picture to embed"), answers.joined)


def rank(
    image: Picture | None,
    texts: Iterable[str] | None,
    text: str | None,
    images: Iterable[Picture] | None,
    model: str | None,
) -> Call[Ranking]:
    """One picture against texts, or one text against pictures."""
    content: dict[str, Any] = {"model": model}
    if image is not None and texts is not None and text is None and images is None:
        content |= {"image": _base64(image), "texts": list(_texts(texts, "texts"))}
    elif text is not None and images is not None and image is None and texts is None:
        content |= {"text": text, "images": [_base64(each) for each in many(images, "images")]}
    else:
        raise DataError("rank takes an image and texts, or a text and images")
    return Call(json_request("/rank", content), answers.ranking)


def classify(
    image: Picture, labels: Iterable[str], templates: Iterable[str] | None, model: str | None
) -> Call[tuple[Classified, ...]]:
    """One picture against labels."""
    content = {
        "model": model,
        "image": _base64(image),
        "labels": list(_texts(labels, "labels")),
        "templates": None if templates is None else list(_texts(templates, "templates")),
    }
    return Call(json_request("/classify", content), answers.classes)


def search(
    text: str | None, image: Picture | None, k: int, where: Mapping[str, Any] | None, model: str | None
) -> Call[Found]:
    """The gallery's pictures nearest to a text or a picture."""
    if (text is None) == (image is None):
        raise DataError("search takes a text or an image")
    sought = {"text": text, "image": None if image is None else _base64(image)}
    content = {"model": model, **sought, "k": k, "filter": where}
    try:
        return Call(json_request("/search", content), answers.found)
    except (TypeError, ValueError) as error:
        raise DataError(f"the filter is not JSON: {error}") from error


def gallery_add(items: Iterable[NewItem], model: str | None, limits: Limits) -> Calls[list[AddedItem], Added]:
    """Pictures into the gallery. Adding an item again changes nothing: a refused request may be repeated."""

    def calls() -> Iterator[Call[list[AddedItem]]]:
        loaded = ((each, picture_bytes(each.image)) for each in many(items, "items"))
        for start, chunk in chunks(loaded, lambda pair: len(pair[1]), limits):
            try:
                listed = json.dumps(
                    [{"id": each.id, "metadata": dict(each.metadata)} for each, _ in chunk], allow_nan=False
                )
            except (TypeError, ValueError) as error:
                raise DataError(f"the metadata is not JSON: {error}") from error
            fields = {"model": model, "items": listed}
            request = form_request("/gallery", fields, "images", [content for _, content in chunk])
            read = partial(answers.added, first=start, ids=[each.id for each, _ in chunk])
            yield Call(request, read, accepts=NOTHING_DONE, items=(start, start + len(chunk)))

    return Calls(calls(), answers.all_added)


def gallery_list(limit: int, cursor: str | None) -> Call[Page]:
    """A page of the gallery."""
    query = urlencode({"limit": limit} | ({} if cursor is None else {"cursor": cursor}))
    return Call(Request("GET", f"/gallery?{query}"), answers.page)


def gallery_get(id: str) -> Call[Item]:
    """One picture's facts."""
    return Call(
        Request("GET", _item(id)), lambda reply: answers.item(answers.Fields(answers.json_object(reply)))
    )


def gallery_image(id: str) -> Call[bytes]:
    """One picture's thumbnail."""
    return Call(Request("GET", f"{_item(id)}/image", headers={"Accept": "image/jpeg"}), answers.picture)


def gallery_delete(ids: str | Iterable[str]) -> Calls[int, int]:
    """One picture, which must be there, or all of some that are."""
    if isinstance(ids, str):
        return Calls(iter([Call(Request("DELETE", _item(ids)), answers.deleted)]), sum)

    def calls() -> Iterator[Call[int]]:
        for start, chunk in chunks(_texts(ids, "ids"), len, Limits(_DELETED_AT_ONCE)):
            request = json_request("/gallery/delete", {"ids": chunk})
            yield Call(request, answers.deleted, items=(start, start + len(chunk)))

    return Calls(calls(), sum)


def caption(
    images: Iterable[Picture],
    beams: int | None,
    max_length: int | None,
    model: str | None,
    limits: Limits,
) -> Calls[list[Caption], tuple[Caption, ...]]:
    """Captions of pictures."""
    options = {"model": model, "beams": _number(beams), "max_length": _number(max_length)}

    def calls() -> Iterator[Call[list[Caption]]]:
        for start, chunk in chunks(map(picture_bytes, many(images, "images")), len, limits):
            request = form_request("/caption", options, "images", chunk)
            yield Call(request, partial(answers.captions, first=start), items=(start, start + len(chunk)))

    return Calls(calls(), lambda parts: tuple(each for part in parts for each in part))


def answer(image: Picture, questions: Iterable[str], model: str | None) -> Call[tuple[Answered, ...]]:
    """Answers to questions about one picture."""
    content = {"model": model, "image": _base64(image), "questions": list(_texts(questions, "questions"))}
    return Call(json_request("/answer", content), answers.answered)


def models() -> Call[tuple[ServedModel, ...]]:
    """What is served."""
    return Call(Request("GET", "/models"), answers.models)


def ready() -> Call[bool]:
    """Whether the service could answer now."""
    return Call(Request("GET", "/readyz"), _good, accepts=(503, 504), retried=False)


def _good(reply: Reply) -> bool:
    return reply.good


def _item(id: str) -> str:
    if not isinstance(id, str) or not id:
        raise DataError("an id is a string of at least one character")
    try:
        return f"/gallery/{quote(id, safe='')}"
    except UnicodeEncodeError as error:
        raise DataError(f"the id {ascii(id)[:80]} has characters that cannot be sent") from error


def _number(value: int | None) -> str | None:
    return None if value is None else str(value)


def _base64(picture: Picture) -> str:
    return base64.b64encode(picture_bytes(picture)).decode()


def _texts(texts: Iterable[str], what: str) -> Iterator[str]:
    for place, text in enumerate(many(texts, what)):
        if not isinstance(text, str):
            raise DataError(f"{what}[{place}] is {type(text).__name__}, not a string")
        yield text


def _some(calls: Iterator[Call[Any]], sentence: str) -> Iterator[Call[Any]]:
    """`calls`; raises `DataError` for none."""
    none = True
    for call in calls:
        none = False
        yield call
    if none:
        raise DataError(sentence)
