"""Cleaning is that of the original tokenisers, and accepts any string."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import _clean_canonicalize, _clean_lower

from compressor.preprocess.text import clean_text

SURROGATES = st.text(alphabet=st.characters(categories=["Cs", "Lu", "Po", "Zs"]))


@settings(max_examples=150, deadline=None)
@given(st.text())
def test_canonicalize_equals_open_clips(text: str) -> None:
    assert clean_text(text, "canonicalize") == _clean_canonicalize(text)


@settings(max_examples=150, deadline=None)
@given(st.text())
def test_clip_cleaning_equals_open_clips(text: str) -> None:
    assert clean_text(text, "clip") == _clean_lower(text)


@pytest.mark.parametrize(
    ("clean", "text", "expected"),
    [
        ("none", "  As It IS ", "  As It IS "),
        ("lower", "  As\n It\tIS ", "as it is"),
        ("clip", " Tom &amp;amp; Jerry\n", "tom & jerry"),
        ("clip", "!<end_of_text>", "!< end_of_text>"),
        ("clip", "a <end_of_text>", "a <end_of_text>"),
        ("canonicalize", "A snow_man's  hat!", "a snow mans hat"),
        ("siglip", "A snow_man's  hat!", "a snowmans hat"),
    ],
)
def test_examples(clean: str, text: str, expected: str) -> None:
    assert clean_text(text, clean) == expected


@settings(max_examples=50, deadline=None)
@given(SURROGATES, st.sampled_from(["none", "lower", "clip", "canonicalize", "siglip"]))
def test_surrogates_do_not_break_cleaning(text: str, clean: str) -> None:
    assert isinstance(clean_text(text, clean), str)
