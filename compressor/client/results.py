"""What the service gives, as values with names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

Scalar = str | int | float | bool
Metadata = Mapping[str, Scalar]
Picture = bytes | str | PathLike[str]
"""The bytes of an encoded file, or the path of one."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one item of a call could not be done; `index` is its place in the call."""

    index: int
    code: str
    message: str
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate beside the query; `index` is its place in the call."""

    index: int
    cosine: float
    logit: float
    probability: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """Candidates, the best first, and those that could not be read."""

    model: str
    results: tuple[Ranked, ...]
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class Classified:
    """A label beside the picture; `index` is its place in the call."""

    index: int
    label: str
    cosine: float
    probability: float


@dataclass(frozen=True, slots=True)
class Hit:
    """One picture that was found; `score` is the cosine."""

    id: str
    score: float
    metadata: dict[str, Scalar]


@dataclass(frozen=True, slots=True)
class Found:
    """Hits, the best first, and the milliseconds that the service spent on them."""

    model: str
    hits: tuple[Hit, ...]
    encode_ms: float
    index_ms: float


@dataclass(frozen=True, slots=True)
class NewItem:
    """A picture to add. An id makes adding it twice the same as adding it once, hence it must be given."""

    id: str
    image: Picture
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AddedItem:
    """What became of one item; `index` is its place in the call, `failure` is None where it was added."""

    index: int
    id: str
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class Added:
    """What became of every item of a call, in its order; `added`: how many are in the gallery now."""

    added: int
    results: tuple[AddedItem, ...]

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Of the items that were not added."""
        return tuple(result.failure for result in self.results if result.failure is not None)


@dataclass(frozen=True, slots=True)
class Item:
    """A picture of the gallery; width and height in pixels."""

    id: str
    metadata: dict[str, Scalar]
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some items of the gallery, how many there are in all, and the cursor of the next page (None: the last).

    `index`: what the service says of its search index.
    """

    count: int
    items: tuple[Item, ...]
    next_cursor: str | None
    index: Any


@dataclass(frozen=True, slots=True)
class Caption:
    """What was written of a picture, or why nothing was; `index` is its place in the call."""

    index: int
    caption: str | None
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class Answered:
    """A question and its answer; `index` is its place in the call."""

    index: int
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A bundle that is served; `facts` is all that the service says of it."""

    name: str
    kind: str
    sha256: str
    precision: str
    facts: dict[str, Any]
