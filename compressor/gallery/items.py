"""What goes into a gallery and what comes out of it, and the bounds of both."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from PIL import Image

from compressor.errors import DataError

Scalar = str | int | float | bool
Metadata = Mapping[str, Scalar]

MAX_ID = 256
MAX_KEYS = 64
MAX_KEY = 64
MAX_TEXT = 4_096
MAX_METADATA_BYTES = 16_384
MAX_INTEGER = 2**53
"""Larger integers are not exact as float64, in which numbers are compared."""
RESERVED = frozenset({"and", "or", "not"})
"""Words of the filter language, which cannot be keys."""


@dataclass(frozen=True, slots=True)
class NewItem:
    """A picture to add: its encoded file, and what is known of it.

    `picture`: the decoded file, where the caller has it already, so that it is not decoded again. `source`:
    a path or address from which the file can be read again when the gallery is rebuilt.
    """

    id: str
    image: bytes
    metadata: Metadata = field(default_factory=dict)
    source: str | None = None
    picture: Image.Image | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A picture of the gallery. `added_at` is UTC in ISO 8601; `sha256` is the original file's."""

    id: str
    metadata: dict[str, Scalar]
    width: int
    height: int
    sha256: str
    added_at: str
    source: str | None


@dataclass(frozen=True, slots=True)
class ItemError:
    """Why one item of a call was not added; `index` is its place in the call."""

    index: int
    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Added:
    """What a call added, all at once, and what it could not."""

    ids: list[str]
    errors: list[ItemError]


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer of a search; `score` is the cosine."""

    id: str
    score: float
    metadata: dict[str, Scalar]


@dataclass(frozen=True, slots=True)
class Page:
    """Items in the order of their ids; `cursor` asks for the next page, None on the last one."""

    items: list[Item]
    cursor: str | None


def check_id(id: object) -> str:
    """`id`, if it may be one: 1 to 256 characters that can be printed. Raises `DataError`."""
    if not isinstance(id, str):
        raise DataError(f"an id is a string, not {type(id).__name__}")
    if not 1 <= len(id) <= MAX_ID:
        raise DataError(f"an id has 1 to {MAX_ID} characters, not {len(id):,}")
    if not id.isprintable():
        raise DataError(f"the id {ascii(id)[:80]} has characters that cannot be printed")
    return id


def metadata_text(metadata: object) -> str:
    """Metadata as the JSON that is stored. Raises `DataError` for anything but a flat object in bounds."""
    if not isinstance(metadata, Mapping):
        raise DataError(f"metadata is an object of keys and values, not {type(metadata).__name__}")
    if len(metadata) > MAX_KEYS:
        raise DataError(f"metadata has at most {MAX_KEYS} keys, not {len(metadata):,}")
    for key, value in metadata.items():
        _check_key(key)
        check_scalar(f"metadata key {key!r}", value)
    text = json.dumps(dict(metadata), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    size = len(text.encode())
    if size > MAX_METADATA_BYTES:
        raise DataError(f"metadata has at most {MAX_METADATA_BYTES:,} bytes as JSON, not {size:,}")
    return text


def check_scalar(what: str, value: object) -> Scalar:
    """`value`, if it is a string, a finite number or a truth value within the bounds. Raises `DataError`."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise DataError(f"{what}: a text has at most {MAX_TEXT:,} characters, not {len(value):,}")
        if not _is_unicode(value):
            raise DataError(f"{what}: the text holds half of a surrogate pair, which is no character")
        return value
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise DataError(f"{what}: an integer lies between -2^53 and 2^53")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise DataError(f"{what}: {value} is no number in JSON")
        return value
    raise DataError(f"{what}: a value is a string, number or truth value, not {type(value).__name__}")


def _check_key(key: object) -> None:
    if not isinstance(key, str) or not 1 <= len(key) <= MAX_KEY or not key.isprintable():
        raise DataError(
            f"the metadata key {ascii(key)[:80]} is no printable string of 1 to {MAX_KEY} characters"
        )
    if key in RESERVED:
        raise DataError(f"the metadata key {key!r} is a word of the filter language; choose another")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
