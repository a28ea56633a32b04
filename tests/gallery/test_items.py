"""What may be an id and metadata."""

from __future__ import annotations

import json
from typing import Any

import pytest

from compressor.errors import DataError
from compressor.gallery.items import check_id, metadata_text


@pytest.mark.parametrize("id", ["a", "folder/dog 1.jpg", "犬", "x" * 256, "it's"])
def test_ids_that_are_taken(id: str) -> None:
    assert check_id(id) == id


@pytest.mark.parametrize("id", ["", "x" * 257, "a\nb", "a\0b", "\x1b[31m", "\ud800", 7, None, b"a"])
def test_ids_that_are_refused_in_one_printable_sentence(id: Any) -> None:
    with pytest.raises(DataError) as caught:
        check_id(id)
    assert str(caught.value).isprintable()


def test_metadata_is_kept_as_it_is() -> None:
    metadata = {"text": "é", "whole": 3, "real": 0.5, "truth": True, "": "x"}
    del metadata[""]
    assert json.loads(metadata_text(metadata)) == metadata


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": None},
        {"a": [1]},
        {"a": {"b": 1}},
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": 2**53 + 1},
        {"a": "x" * 5_000},
        {"a": "\ud800"},
        {"": 1},
        {"k" * 65: 1},
        {"a\n": 1},
        {"and": 1},
        {1: 1},
        {f"k{n}": 1 for n in range(65)},
        {f"k{n}": "x" * 4_000 for n in range(5)},
        [],
        "a",
        None,
    ],
)
def test_metadata_that_is_refused(metadata: Any) -> None:
    with pytest.raises(DataError):
        metadata_text(metadata)
