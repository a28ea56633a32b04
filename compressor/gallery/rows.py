"""The table of items: its columns, and items as rows of it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compressor.errors import BadImageError, DataError
from compressor.gallery.items import Item, ItemError, NewItem, check_id, metadata_text
from compressor.gallery.pictures import Pictured, pictured
from compressor.gallery.store import key_field

if TYPE_CHECKING:
    import pyarrow

UNIT_TOLERANCE = 1e-3
SHOWN = ("id", "metadata", "width", "height", "sha256", "added_at", "source")
"""The columns that make an `Item`."""


def items_schema(width: int) -> pyarrow.Schema:
    """Columns of a table whose vectors have `width` values.

    `revision` is a random number of the call that wrote the row: readers tell by it what they have not seen.
    """
    import pyarrow as pa

    return pa.schema(
        [
            key_field("id"),
            pa.field("revision", pa.int64(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), width), nullable=False),
            pa.field("metadata", pa.string(), nullable=False),
            pa.field("thumbnail", pa.binary(), nullable=False),
            pa.field("width", pa.int32(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("sha256", pa.string(), nullable=False),
            pa.field("added_at", pa.string(), nullable=False),
            pa.field("source", pa.string()),
            pa.field("original", pa.large_binary()),
        ]
    )


def new_rows(
    items: Sequence[NewItem], vectors: NDArray[np.float32], width: int, keep_originals: bool
) -> tuple[pyarrow.Table, list[ItemError]]:
    """The rows of all items that can be added, and why the others cannot."""
    added_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    revision = secrets.randbits(63)
    rows: list[dict[str, Any]] = []
    good: list[int] = []
    errors: list[ItemError] = []
    seen: set[str] = set()
    for index, item in enumerate(items):
        try:
            row = _row(item, vectors[index], keep_originals)
            if item.id in seen:
                raise DataError("the id stands twice in one call; the first is taken")
        except BadImageError as error:
            errors.append(ItemError(index, _shown(item.id), error.reason))
        except DataError as error:
            errors.append(ItemError(index, _shown(item.id), str(error)))
        else:
            seen.add(item.id)
            good.append(index)
            rows.append(row | {"revision": revision, "added_at": added_at})
    return as_table(rows, vectors[good], width), errors


def as_table(rows: Sequence[dict[str, Any]], vectors: NDArray[np.float32], width: int) -> pyarrow.Table:
    """Rows without their vectors, and these as (N, width) float32, as one table."""
    import pyarrow as pa

    schema = items_schema(width)
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1), pa.float32())
    columns = [
        pa.FixedSizeListArray.from_arrays(flat, width)
        if field.name == "vector"
        else pa.array([row[field.name] for row in rows], field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def as_item(row: dict[str, Any]) -> Item:
    """A row with the columns of `SHOWN`."""
    return Item(**{name: row[name] for name in SHOWN} | {"metadata": json.loads(row["metadata"])})


def check_vector(vector: NDArray[np.float32]) -> None:
    """Raises `DataError` for a row that is not finite or not of length 1."""
    if not np.isfinite(vector).all():
        raise DataError("the vector is not finite")
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if abs(length - 1.0) > UNIT_TOLERANCE:
        raise DataError(f"the vector has length {length:.4g}, not 1")


def _row(item: NewItem, vector: NDArray[np.float32], keep_originals: bool) -> dict[str, Any]:
    id, metadata = check_id(item.id), metadata_text(item.metadata)
    if item.source is not None and not (isinstance(item.source, str) and 1 <= len(item.source) <= 4_096):
        raise DataError("the source is no path or address of 1 to 4,096 characters")
    seen: Pictured = pictured(item)
    check_vector(vector)
    return {
        "id": id,
        "metadata": metadata,
        "thumbnail": seen.thumbnail,
        "width": seen.width,
        "height": seen.height,
        "sha256": seen.sha256,
        "source": item.source,
        "original": item.image if keep_originals else None,
    }


def _shown(id: object) -> str:
    return id[:256] if isinstance(id, str) else repr(id)[:256]
