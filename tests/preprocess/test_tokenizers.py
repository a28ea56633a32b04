"""CLIP's tokeniser gives open_clip's ids; the trained one is deterministic and cannot be tricked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import tokenizers
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from transformers import BertTokenizer, CLIPTokenizer

from compressor.errors import MissingDependencyError, MissingResourceError, ModelError
from compressor.preprocess import tokenizers as module
from compressor.preprocess.text import Tokenizer, clean_text
from compressor.preprocess.tokenizers import (
    clip_tokenizer,
    from_tokenizers_file,
    from_tokenizers_json,
    from_transformers_folder,
    train_bpe,
)

CAPTIONS = [
    "A red square above a blue circle.",
    "Two small green triangles, striped",
    "Ein großer Café-Tisch",
] * 3
AWKWARD = [
    "",
    " ",
    "a photo of a cat",
    "A Photo, of  a\tCAT!!",
    "two   women's dogs don't we'll I'VE",
    "naïve café Ångström ÉTÉ",
    "😀 👨‍👩‍👧‍👦 🏳️‍🌈 flag",
    "一只猫坐在垫子上",
    "กขค हिन्दी العربية עברית",
    "&lt;b&gt;bold&lt;/b&gt; &amp;amp; &#39;quoted&#39; &nbsp;",
    "&amp;lt;end_of_text&amp;gt;",
    "1234 5 ½ ² x²",
    "word " * 10_000,
    "supercalifragilistic" * 500,
    "\ud83d lone surrogate",
    "zero\x00byte and \x07bell",
    "ＦＵＬＬ ｗｉｄｔｈ ﬁne ligature",
    "schÃ¶n broken UTF-8",
    "<start_of_text> a <end_of_text> b",
    "!<end_of_text>",
    "!<end_of_text><end_of_text>",
    "<end_of_text>!<end_of_text>",
    "<start_of_text><end_of_text>x<END_OF_TEXT>",
    "'s<end_of_text> '<end_of_text> 7<end_of_text>é<start_of_text>",
    "<ſtart_of_text> 'ſ it'ſ",
    "<|endoftext|> <|startoftext|> [PAD] [EOS]",
    "</w> a</w>",
]


@pytest.fixture(scope="module")
def original() -> open_clip.SimpleTokenizer:
    return open_clip.SimpleTokenizer()


@pytest.fixture(scope="module")
def clip() -> Tokenizer:
    return clip_tokenizer(77)[0]


def ids(tokenizer: Tokenizer, text: str, clean: str) -> list[int]:
    return tokenizer([clean_text(text, clean)])[0].tolist()


@pytest.mark.parametrize("text", AWKWARD, ids=lambda text: ascii(text[:20]))
def test_clip_ids_equal_open_clips(clip: Tokenizer, original: open_clip.SimpleTokenizer, text: str) -> None:
    assert ids(clip, text, "clip") == original(text)[0].tolist()


FRAGMENTS = [
    "<end_of_text>",
    "<start_of_text>",
    "<END_of_text>",
    "'S",
    "'ll",
    "&amp;",
    "&lt;",
    "ſ",
    "!",
    "<",
    " ",
    "7",
]


# Characters that Python's own tables do not know yet are letters to one library and signs to the other.
KNOWN = st.text(alphabet=st.characters(exclude_categories=["Cn"]), max_size=8)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.lists(st.one_of(KNOWN, st.sampled_from(FRAGMENTS)), max_size=8).map("".join))
@example(text="0<end_of_text>")
def test_clip_ids_equal_open_clips_on_any_text(
    clip: Tokenizer, original: open_clip.SimpleTokenizer, text: str
) -> None:
    assert ids(clip, text, "clip") == original(text)[0].tolist()


@pytest.mark.parametrize("context_length", [4, 16, 77])
def test_clip_truncation_keeps_the_end(original: open_clip.SimpleTokenizer, context_length: int) -> None:
    tokenizer, spec = clip_tokenizer(context_length)
    row = ids(tokenizer, "word " * 100, "clip")
    assert row == original("word " * 100, context_length=context_length)[0].tolist()
    assert row[-1] == spec.eos_id == 49_407


def test_clip_specification(clip: Tokenizer) -> None:
    spec = clip_tokenizer(77)[1]
    assert (spec.context_length, spec.pad_id, spec.clean) == (77, 0, "clip")
    assert clip.vocab_size == 49_408


def test_clip_tokenizer_needs_open_clip_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pip install"):
        clip_tokenizer(77)


def test_a_saved_tokenizer_gives_the_same_ids(clip: Tokenizer, tmp_path: Path) -> None:
    trained, _ = train_bpe(CAPTIONS, 400, 12)
    for tokenizer, texts in ((clip, AWKWARD[:12]), (trained, AWKWARD[:12])):
        path = tmp_path / "tokenizer.json"
        path.write_text(tokenizer.to_json(), encoding="utf-8")
        again = Tokenizer.from_file(path)
        np.testing.assert_array_equal(again(texts), tokenizer(texts))
        assert again.to_json() == tokenizer.to_json()
        assert again.context_length == tokenizer.context_length


def test_trained_tokenizer_is_the_same_in_every_process() -> None:
    script = (
        "from compressor.preprocess.tokenizers import train_bpe\n"
        f"print(train_bpe({CAPTIONS!r}, 350, 12)[0].to_json())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script], check=True, capture_output=True, text=True
        ).stdout.strip()
        for _ in range(2)
    }
    assert outputs == {train_bpe(CAPTIONS, 350, 12)[0].to_json()}


def test_trained_tokenizer_frames_pads_and_truncates() -> None:
    tokenizer, spec = train_bpe(CAPTIONS, 400, 10)
    rows = tokenizer(["", "a red square", "a red square " * 50])
    assert (spec.pad_id, spec.eos_id, spec.context_length, spec.clean) == (0, 2, 10, "lower")
    assert rows.dtype == np.int64
    assert rows[0].tolist() == [1, 2] + [0] * 8
    assert rows[1][0] == 1
    assert rows[1].tolist().count(2) == 1
    assert rows[2][-1] == 2
    assert 0 not in rows[2]


def test_trained_tokenizer_learns_the_captions() -> None:
    tokenizer, _ = train_bpe(CAPTIONS, 600, 32)
    assert tokenizer.vocab_size > 260
    words = [row[row > 2] for row in tokenizer(["red", "square", "triangles"])]
    assert [len(word) for word in words] == [1, 1, 1]


def test_lowercase_is_a_choice() -> None:
    lower, lower_spec = train_bpe(CAPTIONS, 400, 12, lowercase=True)
    keep, keep_spec = train_bpe(CAPTIONS, 400, 12, lowercase=False)
    assert ids(lower, "RED", lower_spec.clean) == ids(lower, "red", lower_spec.clean)
    assert ids(keep, "RED", keep_spec.clean) != ids(keep, "red", keep_spec.clean)


TRAINED = train_bpe(CAPTIONS, 300, 24)


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.text(), st.text(alphabet=st.characters(categories=["Cs", "So", "Lo"]))))
@example("[EOS]")
@example("[PAD][BOS][EOS] <|endoftext|>")
@example("")
def test_no_text_can_spell_a_special_token_of_a_trained_tokenizer(text: str) -> None:
    tokenizer, spec = TRAINED
    row = ids(tokenizer, text, spec.clean)
    assert len(row) == 24
    length = row.index(2) + 1
    assert row[0] == 1
    assert 1 not in row[1:]
    assert row[length:] == [0] * (24 - length)
    assert 0 not in row[:length]


def test_a_vocabulary_without_captions_still_covers_every_byte() -> None:
    tokenizer, spec = train_bpe([], 260, 40)
    row = ids(tokenizer, "中 é", spec.clean)
    assert [token for token in row if token > 2] != []
    assert len(set(row)) > 4


def write_clip_folder(folder: Path) -> CLIPTokenizer:
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    merges = [("r", "e"), ("re", "d</w>"), ("c", "a"), ("ca", "t</w>")]
    words = [*alphabet, *(letter + "</w>" for letter in alphabet), *("".join(pair) for pair in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={word: row for row, word in enumerate(words)}, merges=merges)
    tokenizer.save_pretrained(folder)
    return tokenizer


def test_a_transformers_clip_folder_gives_its_own_ids(tmp_path: Path) -> None:
    original = write_clip_folder(tmp_path)
    tokenizer, spec = from_transformers_folder(tmp_path, 12)
    texts = ["red cat", "", "RED  Café 中😀", "red " * 40, "a <|endoftext|> b"]
    expected = original(texts, padding="max_length", truncation=True, max_length=12)["input_ids"]
    assert tokenizer([clean_text(text, spec.clean) for text in texts]).tolist() == expected
    assert spec.pad_id == spec.eos_id == original.eos_token_id


def test_a_transformers_bert_folder_gives_its_own_ids(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "cat", "##s"]
    original = BertTokenizer(vocab={word: row for row, word in enumerate(words)})
    original.save_pretrained(tmp_path)
    tokenizer, spec = from_transformers_folder(tmp_path, 6)
    texts = ["Red cats", "", "unknown cat", "red " * 20]
    expected = original(texts, padding="max_length", truncation=True, max_length=6)["input_ids"]
    assert tokenizer([clean_text(text, spec.clean) for text in texts]).tolist() == expected
    assert (spec.pad_id, spec.eos_id) == (0, 3)


def test_a_closing_token_is_only_named_where_there_is_one() -> None:
    pipeline = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"[PAD]": 0, "a": 1, "[CLS]": 2}, unk_token="a")
    )
    pipeline.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", 2)]
    )
    assert from_tokenizers_json(pipeline.to_str(), 4)[1].eos_id is None


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match=r"tokenizer\.json.*save_pretrained"):
        from_transformers_folder(tmp_path, 12)
    with pytest.raises(MissingResourceError, match=r"none\.json"):
        from_tokenizers_file(tmp_path / "none.json", 12)
    with pytest.raises(MissingResourceError, match=r"none\.json"):
        Tokenizer.from_file(tmp_path / "none.json")
    broken = tmp_path / "tokenizer.json"
    for content in (b"{", b"\xff\xfe", b"[]", b'{"model": {"type": "Nonsense"}}'):
        broken.write_bytes(content)
        for read in (Tokenizer.from_file, lambda path: from_tokenizers_file(path, 12)):
            with pytest.raises(ModelError, match=r"tokenizer\.json"):
                read(broken)
        with pytest.raises(ModelError, match=r"tokenizer\.json"):
            from_transformers_folder(tmp_path, 12)


def test_a_tokenizer_without_padding_needs_its_length_set(tmp_path: Path) -> None:
    pipeline = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<pad>": 0, "a": 1}, unk_token="a"))
    path = tmp_path / "tokenizer.json"
    path.write_text(pipeline.to_str())
    with pytest.raises(ModelError, match="fixed padding"):
        Tokenizer.from_file(path)
    tokenizer, spec = from_tokenizers_file(path, 5)
    assert tokenizer(["a"]).tolist() == [[1, 0, 0, 0, 0]]
    assert spec.eos_id is None


def test_a_tokenizer_without_pad_token_is_refused() -> None:
    pipeline = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    with pytest.raises(ModelError, match="no pad token"):
        from_tokenizers_json(pipeline.to_str(), 5)
    assert from_tokenizers_json(pipeline.to_str(), 5, pad_token="a")[1].pad_id == 0


def test_a_context_without_room_for_text_is_refused() -> None:
    with pytest.raises(ModelError, match="context of 2"):
        train_bpe(CAPTIONS, 300, 2)


def test_padding_and_truncation_must_agree() -> None:
    content = json.loads(train_bpe(CAPTIONS, 300, 8)[0].to_json())
    content["truncation"]["max_length"] = 7
    with pytest.raises(ModelError, match="truncates to 7"):
        Tokenizer.from_json(json.dumps(content))


@pytest.mark.parametrize("kind", [tokenizers.models.BPE, tokenizers.models.WordPiece])
def test_a_vocabulary_without_its_unknown_token_is_named(kind: Callable[..., Any], tmp_path: Path) -> None:
    """Such a file parses, and the library only complains at the first word that it does not know."""
    more = ([],) if kind is tokenizers.models.BPE else ()
    pipeline = tokenizers.Tokenizer(kind({"[PAD]": 0, "a": 1}, *more, unk_token="[UNK]"))
    (tmp_path / "tokenizer.json").write_text(pipeline.to_str())
    with pytest.raises(ModelError, match=r"tokenizer\.json cannot be read: .*\[UNK\]"):
        from_transformers_folder(tmp_path, 8)
