"""Embeddings on their way out: JSON numbers, base64, or bytes; what went wrong item by item."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving.errors import ApiError
from serving.models import Item, Rows

OCTETS = "application/octet-stream"


class RowsResponse(Response):
    """JSON with rows in it: `JSONResponse` would turn every number into an object first, which takes as long
    as a small model does. A number is the shortest that reads back as the same float32."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def vector(row: Rows, encoding: str) -> Rows | str:
    """A row for a `RowsResponse`: as numbers (`float`) or as base64 of its float32, little-endian."""
    if encoding == "base64":
        return base64.b64encode(_bytes(row)).decode()
    return np.ascontiguousarray(row, np.float32)


def octets(rows: Sequence[Rows]) -> Response:
    """All rows as float32, little-endian, row by row."""
    matrix = np.stack(rows)
    shape = ",".join(map(str, matrix.shape))
    return Response(_bytes(matrix), media_type=OCTETS, headers={"X-Shape": shape, "X-Dtype": "float32"})


def wants_octets(request: Request) -> bool:
    """True where the caller accepts bytes and did not ask for JSON first."""
    return request.headers.get("accept", "").partition(",")[0].strip().lower() == OCTETS


def itemised(
    head: Mapping[str, Any],
    items: Sequence[Item],
    shaped: Callable[[Any], dict[str, Any]],
    order: Sequence[int] | None = None,
    labels: Sequence[str] | None = None,
    kind: type[Response] = JSONResponse,
) -> Response:
    """`results` with an entry for every item, in `order` (None: as they came), or its own error.

    Raises the first error where no item could be done.
    """
    errors = [item for item in items if isinstance(item, ApiError)]
    if errors and len(errors) == len(items):
        raise errors[0]
    results = []
    for index in range(len(items)) if order is None else order:
        item = items[index]
        named = {} if labels is None else {"label": labels[index]}
        facts = {"error": item.content()} if isinstance(item, ApiError) else shaped(item)
        results.append({"index": index, **named, **facts})
    return kind({**head, "results": results})


def all_or_error(items: Sequence[Item], param: str | None = None) -> list[Rows]:
    """The rows of all items, called `param`. Raises the first error among them, saying whose it is."""
    rows: list[Rows] = []
    for index, item in enumerate(items):
        if isinstance(item, ApiError):
            if item.param is None and param is not None:
                item.param = f"{param}[{index}]"
            raise item
        rows.append(item)
    return rows


def _bytes(row: Rows) -> bytes:
    return np.ascontiguousarray(row, dtype="<f4").tobytes()
