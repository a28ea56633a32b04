"""Many items as several requests, each within a number of items and of bytes; and pictures out of files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TypeVar

from compressor.client.results import Picture
from compressor.errors import DataError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one request. An item larger than `size` bytes goes alone: the service says whether it takes it."""

    items: int = 64
    size: int = 8 * 2**20

    def __post_init__(self) -> None:
        if self.items < 1 or self.size < 1:
            raise DataError("a request has room for at least one item and one byte")


def chunks(items: Iterable[T], size: Callable[[T], int], limits: Limits) -> Iterator[tuple[int, list[T]]]:
    """Chunks within the limits, each with the place of its first item; items are taken as they are needed."""
    start, chunk, total = 0, list[T](), 0
    for item in items:
        added = size(item)
        if chunk and (len(chunk) == limits.items or total + added > limits.size):
            yield start, chunk
            start, chunk, total = start + len(chunk), [], 0
        chunk.append(item)
        total += added
    if chunk:
        yield start, chunk


def picture_bytes(picture: Picture) -> bytes:
    """The encoded file, read where it is a path. Raises `DataError` naming a file that cannot be read."""
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    if not isinstance(picture, str | PathLike):
        raise DataError(f"a picture is bytes or a path, not {type(picture).__name__}")
    try:
        return Path(picture).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{picture}: cannot be read: {reason}") from error


def many(items: Iterable[T], what: str) -> Iterable[T]:
    """`items`, unless they are one text or one picture: those can be iterated too, into nonsense."""
    if isinstance(items, str | bytes | bytearray | memoryview | PathLike) or not isinstance(items, Iterable):
        raise DataError(f"{what} are a list, not {type(items).__name__}")
    return items
