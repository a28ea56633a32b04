"""Metadata as columns, on which a filter is a few operations on whole arrays.

Items keep their metadata as one JSON text, so that a new key changes no schema. A key that a filter names
becomes a column of kinds, numbers and places in a sorted vocabulary, once for each state of the gallery.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compressor.gallery.filters import All, Compare, Exists, Filter, Not, OneOf, Operator, Some
from compressor.gallery.items import Scalar

Mask = NDArray[np.bool_]
_ABSENT, _TRUTH, _NUMBER, _TEXT = range(4)


@dataclass(frozen=True, slots=True)
class _Column:
    """One key of N items. `numbers` holds numbers, truth values, and the places of texts in `vocabulary`."""

    kinds: NDArray[np.uint8]
    numbers: NDArray[np.float64]
    vocabulary: list[str]


class Columns:
    """The metadata of N items. Columns are made when a filter first names their key."""

    def __init__(self, metadata: Sequence[dict[str, Scalar]]) -> None:
        self._metadata = metadata
        self._columns: dict[str, _Column] = {}

    def matching(self, tree: Filter) -> Mask:
        """Which items a filter holds for: (N,) of truth values."""
        match tree:
            case All(parts):
                return self._combined(parts, True)
            case Some(parts):
                return self._combined(parts, False)
            case Not(part):
                return ~self.matching(part)
            case Exists(key):
                return self._column(key).kinds != _ABSENT
            case OneOf(key, values):
                return self._combined([Compare(key, "eq", value) for value in values], False)
            case Compare(key, operator, value):
                return _compare(self._column(key), operator, value)

    def _combined(self, parts: Sequence[Filter], every: bool) -> Mask:
        mask = np.full(len(self._metadata), every)
        for part in parts:
            mask = mask & self.matching(part) if every else mask | self.matching(part)
        return mask

    def _column(self, key: str) -> _Column:
        found = self._columns.get(key)
        if found is None:
            found = self._columns[key] = _column([each.get(key) for each in self._metadata])
        return found


def _column(values: list[Scalar | None]) -> _Column:
    kinds = np.fromiter(map(_kind, values), np.uint8, len(values))
    vocabulary = sorted({value for value in values if isinstance(value, str)})
    places = {text: place for place, text in enumerate(vocabulary)}
    numbers = np.fromiter(
        (places[value] if isinstance(value, str) else 0.0 if value is None else value for value in values),
        np.float64,
        len(values),
    )
    return _Column(kinds, numbers, vocabulary)


def _kind(value: Scalar | None) -> int:
    if value is None:
        return _ABSENT
    if isinstance(value, bool):
        return _TRUTH
    return _TEXT if isinstance(value, str) else _NUMBER


def _compare(column: _Column, operator: Operator, value: Scalar) -> Mask:
    if isinstance(value, str):  # before the text, the text itself (if it is there at all), after it
        low = bisect_left(column.vocabulary, value) - 0.5
        high = bisect_right(column.vocabulary, value) - 0.5
    else:
        low = high = float(value)
    below, above = column.numbers < low, column.numbers > high
    masks: dict[Operator, Mask] = {
        "eq": ~(below | above),
        "ne": below | above,
        "lt": below,
        "lte": ~above,
        "gt": above,
        "gte": ~below,
    }
    same: Mask = column.kinds == _kind(value)
    return same & masks[operator]
