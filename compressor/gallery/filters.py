"""The filter language: JSON in, a small tree out. Nothing of the caller's text reaches a query language.

    {"colour": "red", "year": {"gte": 2000, "lt": 2010}}         both hold
    {"or": [{"tag": {"in": ["a", "b"]}}, {"not": {"seen": {"exists": true}}}]}

A comparison holds only for items that have the key with a value of the same kind (text, number, truth value):
`{"year": {"ne": 2000}}` holds for no item without a year, `{"not": {"year": 2000}}` for all of them. Texts
are ordered by code points. 1 and 1.0 are the same number; true is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from compressor.errors import DataError, FilterError
from compressor.gallery.items import RESERVED, Scalar, check_scalar

MAX_DEPTH = 16
MAX_PARTS = 256
MAX_CHOICES = 1_000

Operator = Literal["eq", "ne", "lt", "lte", "gt", "gte"]
_OPERATORS = ("eq", "ne", "lt", "lte", "gt", "gte")
_KNOWN = (*_OPERATORS, "in", "exists")


@dataclass(frozen=True, slots=True)
class Compare:
    """The key's value stands to `value` as the operator says."""

    key: str
    operator: Operator
    value: Scalar


@dataclass(frozen=True, slots=True)
class OneOf:
    """The key's value is one of these."""

    key: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Exists:
    """The key is there, with any value."""

    key: str


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds; true without parts."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one part holds; false without parts."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Filter


Filter = Compare | OneOf | Exists | All | Some | Not


def parse_filter(content: object) -> Filter:
    """A filter from JSON. Raises `FilterError` naming the part at fault: an unknown operator, a value of no
    known kind, NaN and infinities, a filter too deep (16), of too many parts (256) or choices (1,000)."""
    _check_depth(content)
    found = _parse(content)
    if sum(1 for _ in _parts(found)) > MAX_PARTS:
        raise FilterError(f"the filter has more than {MAX_PARTS} parts")
    return found


def _check_depth(content: object) -> None:
    layer = [content]
    for _ in range(2 * MAX_DEPTH):
        layer = [
            inner
            for each in layer
            if isinstance(each, Mapping | list)
            for inner in (each.values() if isinstance(each, Mapping) else each)
        ]
        if not layer:
            return
    raise FilterError(f"the filter is nested more than {MAX_DEPTH} levels deep")


def _parts(tree: Filter) -> Iterator[Filter]:
    yield tree
    for part in tree.parts if isinstance(tree, All | Some) else (tree.part,) if isinstance(tree, Not) else ():
        yield from _parts(part)


def _parse(content: object) -> Filter:
    if not isinstance(content, Mapping):
        raise FilterError(f'a filter is an object such as {{"colour": "red"}}, not {_kind(content)}')
    parts = [_entry(key, value) for key, value in content.items()]
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _entry(key: object, value: object) -> Filter:
    if not isinstance(key, str):
        raise FilterError(f"a filter's keys are strings, not {_kind(key)}")
    if key == "not":
        return Not(_parse(value))
    if key in RESERVED:
        if not isinstance(value, list):
            raise FilterError(f"{key!r} takes a list of filters, not {_kind(value)}")
        parts = tuple(_parse(each) for each in value)
        return All(parts) if key == "and" else Some(parts)
    if not isinstance(value, Mapping):
        return Compare(key, "eq", _scalar(key, value))
    if not value:
        raise FilterError(f"the filter of {key!r:.80} names no operator; it knows {', '.join(_KNOWN)}")
    tests = [_test(key, operator, operand) for operator, operand in value.items()]
    return tests[0] if len(tests) == 1 else All(tuple(tests))


def _test(key: str, operator: object, operand: object) -> Filter:
    if operator == "in":
        if not isinstance(operand, list):
            raise FilterError(f"'in' of {key!r:.80} takes a list of values, not {_kind(operand)}")
        if len(operand) > MAX_CHOICES:
            raise FilterError(f"'in' of {key!r:.80} has more than {MAX_CHOICES:,} values")
        return OneOf(key, tuple(_scalar(key, each) for each in operand))
    if operator == "exists":
        if not isinstance(operand, bool):
            raise FilterError(f"'exists' of {key!r:.80} takes true or false, not {_kind(operand)}")
        return Exists(key) if operand else Not(Exists(key))
    if operator not in _OPERATORS:
        raise FilterError(f"{key!r:.80}: unknown operator {operator!r:.80}; it knows {', '.join(_KNOWN)}")
    value = _scalar(key, operand)
    if isinstance(value, bool) and operator not in ("eq", "ne"):
        raise FilterError(f"{key!r:.80}: true and false have no order, which {operator!r} asks for")
    return Compare(key, cast(Operator, operator), value)


def _scalar(key: str, value: object) -> Scalar:
    try:
        return check_scalar(f"filter of {key!r:.80}", value)
    except DataError as error:
        raise FilterError(str(error)) from error


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__
