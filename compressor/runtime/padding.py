"""Texts without the padding that no row needs, for text graphs that take any length. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SHORTEST = 2
"""Columns that always stay: no graph was traced with fewer."""
_PREFIX = "text."


@dataclass(frozen=True)
class Padding:
    """Where texts end: behind the first `end_id`, or where there is none behind the last other than `pad_id`.

    `longest` is the context length, to which tokenisers pad. A graph whose length is dynamic carries these
    numbers as its metadata, so that whoever opens it cuts texts as the exporter did.
    """

    longest: int
    pad_id: int
    end_id: int | None = None

    def trimmed(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """(N, L) -> (N, L'), without the columns at the end that are padding in every row."""
        if self.end_id is None:
            counts = (ids != self.pad_id).any(axis=0)
            used = int(np.flatnonzero(counts).max(initial=0)) + 1
        else:
            ends = ids == self.end_id
            used = int(np.where(ends.any(axis=1), ends.argmax(axis=1) + 1, ids.shape[1]).max(initial=0))
        return ids[:, : max(used, _SHORTEST)]

    def as_notes(self) -> dict[str, str]:
        """The numbers as an ONNX file's metadata."""
        numbers = {"longest": self.longest, "pad_id": self.pad_id, "end_id": self.end_id}
        return {f"{_PREFIX}{name}": str(number) for name, number in numbers.items() if number is not None}

    @classmethod
    def of_notes(cls, notes: Mapping[str, str]) -> Padding | None:
        """What `as_notes` wrote; None for a graph without them, or with others."""
        found = {key.removeprefix(_PREFIX): text for key, text in notes.items() if key.startswith(_PREFIX)}
        digits = all(text.isascii() and text.isdigit() and len(text) < 10 for text in found.values())
        if not {"longest", "pad_id"} <= set(found) <= {"longest", "pad_id", "end_id"} or not digits:
            return None
        return cls(**{name: int(text) for name, text in found.items()})
