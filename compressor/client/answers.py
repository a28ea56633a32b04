"""Answers of the service read into values; whatever is not as described raises `BadAnswerError`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from compressor.client.errors import BadAnswerError, ServiceError
from compressor.client.results import (
    Added,
    AddedItem,
    Answered,
    Caption,
    Classified,
    Failure,
    Found,
    Hit,
    Item,
    Page,
    Ranked,
    Ranking,
    Scalar,
    ServedModel,
)
from compressor.client.wire import OCTETS, Reply, json_object, service_error

Rows = npt.NDArray[np.float32]


class Fields:
    """A JSON object, read field by field."""

    def __init__(self, value: Any) -> None:
        if not isinstance(value, dict):
            raise BadAnswerError("has something else where an object belongs")
        self.value: dict[str, Any] = value

    def text(self, name: str) -> str:
        """A string."""
        return str(self._of(name, str, "string"))

    def number(self, name: str) -> float:
        """A finite number."""
        value = self._of(name, (int, float), "number")
        if isinstance(value, bool) or not math.isfinite(value):
            raise BadAnswerError(f"has no finite number '{name}'")
        return float(value)

    def whole(self, name: str) -> int:
        """A whole number from 0."""
        value = self._of(name, int, "whole number")
        if isinstance(value, bool) or value < 0:
            raise BadAnswerError(f"has no whole number '{name}'")
        return int(value)

    def object(self, name: str) -> Fields:
        """An object inside."""
        return Fields(self._of(name, dict, "object"))

    def objects(self, name: str) -> list[Fields]:
        """A list of objects."""
        return [Fields(value) for value in self._of(name, list, "list")]

    def metadata(self) -> dict[str, Scalar]:
        """The object `metadata`; empty where there is none."""
        return dict(self.object("metadata").value) if self.value.get("metadata") is not None else {}

    def failure(self, index: int) -> Failure | None:
        """The object `error`; None where there is none."""
        if self.value.get("error") is None:
            return None
        error = self.object("error")
        param = error.value.get("param")
        return Failure(index, error.text("code"), error.text("message"), param and str(param))

    def _of(self, name: str, kind: Any, called: str) -> Any:
        value = self.value.get(name)
        if not isinstance(value, kind):
            raise BadAnswerError(f"has no {called} '{name}'")
        return value


def rows(reply: Reply, count: int) -> Rows:
    """(count, D) of float32, little-endian, as `X-Shape` says."""
    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != OCTETS:
        raise BadAnswerError(f"is '{kind[:80]}' instead of {OCTETS}")
    shape = re.fullmatch(r"\s*([0-9]{1,9})\s*,\s*([0-9]{1,9})\s*", reply.headers.get("x-shape", ""))
    if shape is None:
        raise BadAnswerError("has no X-Shape of two numbers")
    found, width = int(shape[1]), int(shape[2])
    if found != count or width < 1:
        raise BadAnswerError(f"has {found} rows of {width} numbers for {count} items")
    if len(reply.content) != 4 * found * width:
        raise BadAnswerError(f"has {len(reply.content)} bytes for {found} rows of {width} numbers")
    return np.frombuffer(reply.content, "<f4").reshape(found, width).astype(np.float32)


def joined(parts: Iterable[Rows]) -> Rows:
    """The rows of several answers. Raises `BadAnswerError` where the model changed its width between them."""
    found = list(parts)
    widths = {part.shape[1] for part in found}
    if len(widths) > 1:
        raise BadAnswerError(
            f"the service changed its model during the call: rows of {sorted(widths)} numbers"
        )
    return found[0] if len(found) == 1 else np.concatenate(found)


def ranking(reply: Reply) -> Ranking:
    """The answer of `/rank`."""
    answer = Fields(json_object(reply))
    results, failures = [], []
    for each in answer.objects("results"):
        index = each.whole("index")
        failure = each.failure(index)
        if failure is not None:
            failures.append(failure)
        else:
            found = (each.number(name) for name in ("cosine", "logit", "probability"))
            results.append(Ranked(index, *found))
    return Ranking(answer.text("model"), tuple(results), tuple(failures))


def classes(reply: Reply) -> tuple[Classified, ...]:
    """The answer of `/classify`."""
    return tuple(
        Classified(each.whole("index"), each.text("label"), each.number("cosine"), each.number("probability"))
        for each in Fields(json_object(reply)).objects("results")
    )


def found(reply: Reply) -> Found:
    """The answer of `/search`."""
    answer = Fields(json_object(reply))
    took = answer.object("took_ms")
    hits = (Hit(each.text("id"), each.number("score"), each.metadata()) for each in answer.objects("results"))
    return Found(answer.text("model"), tuple(hits), took.number("encode"), took.number("index"))


def added(reply: Reply, first: int, ids: list[str]) -> list[AddedItem]:
    """The answer of `POST /gallery` for items from place `first` of the caller's on.

    A refusal of the whole request is each item's: none of them is in the gallery.
    """
    if not reply.good:
        refused: ServiceError = service_error(reply)
        facts = (refused.code, refused.message, refused.param)
        return [AddedItem(first + k, id_, Failure(first + k, *facts)) for k, id_ in enumerate(ids)]
    items: dict[int, AddedItem] = {}
    for each in Fields(json_object(reply)).objects("results"):
        place = each.whole("index")
        if place >= len(ids):
            raise BadAnswerError(f"has a result for item {place} of {len(ids)}")
        items[place] = AddedItem(first + place, ids[place], each.failure(first + place))
    if len(items) != len(ids):
        raise BadAnswerError(f"has results for {len(items)} of {len(ids)} items")
    return [items[place] for place in sorted(items)]


def all_added(parts: Iterable[list[AddedItem]]) -> Added:
    """The results of several answers."""
    results = tuple(item for part in parts for item in part)
    return Added(sum(item.failure is None for item in results), results)


def item(value: Fields) -> Item:
    """One picture of the gallery."""
    return Item(value.text("id"), value.metadata(), value.whole("width"), value.whole("height"))


def page(reply: Reply) -> Page:
    """The answer of `GET /gallery`."""
    answer = Fields(json_object(reply))
    cursor = answer.value.get("next_cursor")
    return Page(
        answer.whole("count"),
        tuple(item(each) for each in answer.objects("items")),
        answer.text("next_cursor") if cursor is not None else None,
        answer.value.get("index"),
    )


def deleted(reply: Reply) -> int:
    """How many were deleted."""
    return Fields(json_object(reply)).whole("deleted")


def picture(reply: Reply) -> bytes:
    """The bytes of a thumbnail."""
    if not reply.headers.get("content-type", "").lower().startswith("image/") or not reply.content:
        raise BadAnswerError("is no picture")
    return reply.content


def captions(reply: Reply, first: int) -> list[Caption]:
    """The answer of `/caption` for pictures from place `first` of the caller's on."""
    results = []
    for each in Fields(json_object(reply)).objects("results"):
        index = first + each.whole("index")
        failure = each.failure(index)
        results.append(Caption(index, None if failure else each.text("caption"), failure))
    return results


def answered(reply: Reply) -> tuple[Answered, ...]:
    """The answer of `/answer`."""
    return tuple(
        Answered(each.whole("index"), each.text("question"), each.text("answer"))
        for each in Fields(json_object(reply)).objects("results")
    )


def models(reply: Reply) -> tuple[ServedModel, ...]:
    """The answer of `/models`."""
    return tuple(
        ServedModel(
            each.text("name"), each.text("kind"), each.text("sha256"), each.text("precision"), each.value
        )
        for each in Fields(json_object(reply)).objects("models")
    )
