"""Where texts end, and what a graph says of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.runtime.padding import Padding


def rows(*ids: list[int]) -> np.ndarray:
    return np.array(ids, np.int64)


@pytest.mark.parametrize(
    ("padding", "ids", "kept"),
    [
        (Padding(6, 0, 9), rows([8, 5, 9, 0, 0, 0], [8, 9, 0, 0, 0, 0]), 3),
        (Padding(6, 9, 9), rows([8, 5, 9, 9, 9, 9]), 3),
        (Padding(6, 0, 9), rows([8, 0, 0, 7, 9, 0]), 5),
        (Padding(6, 0, 9), rows([8, 5, 9, 0, 0, 0], [8, 1, 2, 3, 4, 5]), 6),
        (Padding(6, 0), rows([8, 0, 5, 0, 0, 0], [8, 0, 0, 0, 0, 0]), 3),
        (Padding(6, 0), rows([0, 0, 0, 0, 0, 0]), 2),
        (Padding(6, 0, 9), rows([9, 0, 0, 0, 0, 0]), 2),
    ],
)
def test_columns_that_are_padding_in_every_row_go(padding: Padding, ids: np.ndarray, kept: int) -> None:
    np.testing.assert_array_equal(padding.trimmed(ids), ids[:, :kept])


@given(st.integers(2, 999), st.integers(0, 10**8), st.none() | st.integers(0, 10**8))
def test_a_graph_carries_the_numbers_as_text(longest: int, pad_id: int, end_id: int | None) -> None:
    padding = Padding(longest, pad_id, end_id)
    assert Padding.of_notes(padding.as_notes() | {"author": "someone"}) == padding


@pytest.mark.parametrize(
    "notes",
    [
        {},
        {"text.longest": "77"},
        {"text.longest": "77", "text.pad_id": "-1"},
        {"text.longest": "7" * 40, "text.pad_id": "0"},
        {"text.longest": "٣", "text.pad_id": "0"},
        {"text.longest": "77", "text.pad_id": "0", "text.width": "3"},
    ],
)
def test_other_notes_are_none(notes: dict[str, str]) -> None:
    assert Padding.of_notes(notes) is None
