"""What a load is made of: requests that are built once and sent in turn."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from urllib.parse import urlencode

from compressor.client.wire import OCTETS, Request, json_request
from compressor.errors import DataError

KINDS = ("text", "image", "search")
_COLOURS = ("red", "green", "blue", "yellow", "purple", "white", "black", "orange")
_THINGS = ("star", "boat", "dog", "kite", "house", "bicycle", "flower", "train")


@dataclass(frozen=True, slots=True)
class LoadBody:
    """Requests of one kind, each of one item; request `n` of a load is `requests[n % len(requests)]`."""

    kind: str
    requests: tuple[Request, ...]


def phrases() -> list[str]:
    """64 different texts of about the same length."""
    return [f"a photo of a {colour} {thing}" for colour, thing in itertools.product(_COLOURS, _THINGS)]


def text_body(model: str | None = None) -> LoadBody:
    """One text a request, its embedding as bytes."""
    sent = [json_request("/encode/text", {"model": model, "texts": [text]}, OCTETS) for text in phrases()]
    return LoadBody("text", tuple(sent))


def image_body(picture: bytes, model: str | None = None) -> LoadBody:
    """One picture a request, as its body; its embedding as bytes. Raises `DataError` for no bytes."""
    if not picture:
        raise DataError("the picture to send is empty")
    query = f"?{urlencode({'model': model})}" if model else ""
    headers = {"Content-Type": OCTETS, "Accept": OCTETS}
    return LoadBody("image", (Request("POST", f"/encode/image{query}", picture, headers),))


def search_body(k: int = 10, model: str | None = None) -> LoadBody:
    """One search by text a request."""
    sent = [json_request("/search", {"model": model, "text": text, "k": k}) for text in phrases()]
    return LoadBody("search", tuple(sent))
