"""The filter language against a reading of it in plain Python."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.errors import FilterError
from compressor.gallery.columns import Columns
from compressor.gallery.filters import parse_filter

KEYS = ("a", "b", "é")
TEXTS = st.sampled_from(["", "a", "b", "ab", "é", "￿", "\U0001f600", "1", "true"])
NUMBERS = st.one_of(
    st.integers(-3, 3), st.sampled_from([2**53, 2**53 - 1, -0.0, 0.5, 1.0, 1e300, -(2**53), 5e-324])
)
SCALARS = st.one_of(TEXTS, NUMBERS, st.booleans())
ORDERED = st.one_of(TEXTS, NUMBERS)
TESTS = st.one_of(
    SCALARS,
    st.fixed_dictionaries({}, optional={"eq": SCALARS, "ne": SCALARS}).filter(bool),
    st.fixed_dictionaries({}, optional=dict.fromkeys(("lt", "lte", "gt", "gte"), ORDERED)).filter(bool),
    st.fixed_dictionaries({"in": st.lists(SCALARS, max_size=4)}),
    st.fixed_dictionaries({"exists": st.booleans()}),
)
LEAVES = st.dictionaries(st.sampled_from(KEYS), TESTS, max_size=2)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"and": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"or": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"not": inner}),
        st.builds(lambda one, more: {**one, "not": more}, LEAVES, inner),
    ),
    max_leaves=8,
)
METADATA = st.lists(st.dictionaries(st.sampled_from(KEYS), SCALARS), max_size=8)
COMPARE = {name: getattr(operator, short) for name, short in (("eq", "eq"), ("ne", "ne"), ("lt", "lt"),
           ("lte", "le"), ("gt", "gt"), ("gte", "ge"))}  # fmt: skip


def kind(value: Any) -> str:
    return "truth" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"


def compares(item: dict[str, Any], key: str, name: str, value: Any) -> bool:
    return key in item and kind(item[key]) == kind(value) and bool(COMPARE[name](item[key], value))


def passes(item: dict[str, Any], key: str, name: str, value: Any) -> bool:
    if name == "in":
        return any(compares(item, key, "eq", each) for each in value)
    if name == "exists":
        return (key in item) is value
    return compares(item, key, name, value)


def holds(item: dict[str, Any], where: dict[str, Any]) -> bool:
    """The definition."""
    for key, value in where.items():
        if key == "and":
            true = all(holds(item, each) for each in value)
        elif key == "or":
            true = any(holds(item, each) for each in value)
        elif key == "not":
            true = not holds(item, value)
        elif isinstance(value, dict):
            true = all(passes(item, key, name, operand) for name, operand in value.items())
        else:
            true = compares(item, key, "eq", value)
        if not true:
            return False
    return True


@settings(max_examples=400, deadline=None)
@given(METADATA, FILTERS)
def test_a_filter_finds_what_its_definition_says(items: list[dict[str, Any]], where: dict[str, Any]) -> None:
    found = Columns(items).matching(parse_filter(where))
    np.testing.assert_array_equal(found, np.array([holds(item, where) for item in items], bool))


def test_kinds_are_not_mixed_and_missing_keys_are_named_by_not() -> None:
    items: list[dict[str, Any]] = [{"a": 1}, {"a": True}, {"a": "1"}, {"a": 1.0}, {}]

    def found(where: dict[str, Any]) -> list[bool]:
        return Columns(items).matching(parse_filter(where)).tolist()

    assert found({"a": 1}) == [True, False, False, True, False]
    assert found({"a": True}) == [False, True, False, False, False]
    assert found({"a": {"ne": 2}}) == [True, False, False, True, False]
    assert found({"not": {"a": 2}}) == [True] * 5
    assert found({}) == [True] * 5
    assert found({"or": []}) == [False] * 5


@pytest.mark.parametrize(
    ("where", "named"),
    [
        ({"year": {"above": 3}}, "'above'"),
        ({"year": {"gte": float("nan")}}, "nan"),
        ({"year": float("inf")}, "inf"),
        ({"year": None}, "NoneType"),
        ({"year": [1]}, "list"),
        ({"year": {}}, "no operator"),
        ({"year": {"gt": True}}, "no order"),
        ({"year": {"in": 3}}, "list"),
        ({"year": {"in": [[1]]}}, "list"),
        ({"year": {"in": [1] * 1_001}}, "1,000"),
        ({"year": {"exists": 1}}, "true or false"),
        ({"and": {"a": 1}}, "'and'"),
        ({"or": [1]}, "int"),
        ({"not": [1]}, "list"),
        ({"year": 2**60}, "2^53"),
        ({"year": "\ud800"}, "surrogate"),
        ({3: 1}, "strings"),
        ("colour = 'red'", "str"),
        ([], "list"),
        (1, "int"),
    ],
)
def test_what_is_no_filter_is_refused_by_name(where: Any, named: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter(where)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_depth_and_size_are_bounded() -> None:
    deep: dict[str, Any] = {"a": 1}
    for _ in range(100_000):
        deep = {"not": deep}
    with pytest.raises(FilterError, match="16 levels"):
        parse_filter(deep)
    with pytest.raises(FilterError, match="256 parts"):
        parse_filter({"or": [{"a": 1}] * 300})
    assert parse_filter({"or": [{"a": n} for n in range(200)]})
