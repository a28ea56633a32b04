"""Cleaning of strings and the tokeniser, which is a `tokenizers` file with padding and truncation in it."""

from __future__ import annotations

import html
import json
import re
import string
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ftfy
import numpy as np
import tokenizers
from numpy.typing import NDArray

from compressor.errors import MissingResourceError, ModelError
from compressor.preprocess.spec import Clean

_CLIP_SPECIAL = re.compile("<(?:start|end)_of_text>")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def clean_text(text: str, clean: Clean) -> str:
    """`text` as the tokeniser wants it. Any string is accepted.

    - `none`: unchanged (the tokeniser's own normaliser does what there is to do);
    - `lower`: white space collapsed, lower case;
    - `whitespace`: as open_clip for other text towers: ftfy, HTML entities twice, white space collapsed;
    - `clip`: as CLIP and open_clip: ftfy, HTML entities twice, white space collapsed, lower case;
    - `canonicalize`: as open_clip and big_vision for SigLIP: ftfy, HTML entities, no punctuation, lower case;
    - `siglip`: as transformers' SiglipTokenizer: lower case, no punctuation, white space collapsed.
    """
    if clean == "none":
        return text
    if clean == "lower":
        return " ".join(text.split()).lower()
    if clean == "whitespace":
        return " ".join(_basic_clean(text).split())
    if clean == "clip":
        return _part_joined_specials(" ".join(_basic_clean(text).split()).lower())
    if clean == "siglip":
        return " ".join(text.lower().translate(_NO_PUNCTUATION).split())
    spaced = _basic_clean(text).replace("_", " ").translate(_NO_PUNCTUATION)
    return " ".join(spaced.lower().split())


def _basic_clean(text: str) -> str:
    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()


def _part_joined_specials(text: str) -> str:
    """Put a space into every spelled special token that open_clip does not take for one.

    open_clip finds special tokens while it splits words from left to right: `a<end_of_text>` holds one, while
    in `!<end_of_text>` the run of signs `!<` has already eaten its first character. The `tokenizers` library
    would find both. A space after the `<` changes no word of the second form and hides it.
    """
    parts: list[str] = []
    done = end = 0
    for match in _CLIP_SPECIAL.finditer(text):
        start = match.start()
        if start == 0 or start == end or not _is_sign(text[start - 1]):
            end = match.end()
        else:
            parts += [text[done : start + 1], " "]
            done = start + 1
    return "".join(parts) + text[done:] if parts else text


def _is_sign(character: str) -> bool:
    """Neither a letter, nor a number, nor white space: what CLIP's pattern gathers into runs."""
    return not character.isspace() and unicodedata.category(character)[0] not in "LN"


class Tokenizer:
    """A `tokenizers` pipeline that returns rows of one length.

    Truncation (which keeps the closing token) and padding are part of its JSON. A text that spells a special
    token gets that token's id only where the JSON lists it among the added tokens, as the original does.
    """

    def __init__(self, pipeline: tokenizers.Tokenizer) -> None:
        padding: dict[str, Any] | None = pipeline.padding
        truncation: dict[str, Any] | None = pipeline.truncation
        if not padding or not padding.get("length") or not truncation:
            raise ModelError(
                "this tokenizer.json sets no fixed padding and truncation, so it was not made here"
            )
        if truncation["max_length"] != padding["length"]:
            cut, filled = truncation["max_length"], padding["length"]
            raise ModelError(f"this tokenizer.json truncates to {cut} tokens, but pads to {filled}")
        self._pipeline = pipeline
        self.context_length = int(padding["length"])
        self.pad_id = int(padding["pad_id"])

    @classmethod
    def from_file(cls, path: Path | str) -> Tokenizer:
        """Read a `tokenizer.json` that this project wrote.

        Raises:
            MissingResourceError: there is no such file.
            ModelError: it is not a tokeniser, or it sets no fixed length.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise MissingResourceError(f"{path}: the tokenizer file is missing") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{path}: the tokenizer file cannot be read: {error}") from error
        try:
            return cls.from_json(text)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error

    @classmethod
    def from_json(cls, text: str) -> Tokenizer:
        """The tokeniser of a JSON string. Raises `ModelError` where it is not one."""
        return cls(parse_pipeline(text))

    def to_json(self) -> str:
        """The whole tokeniser as a JSON string; equal tokenisers give equal strings."""
        return json.dumps(json.loads(self._pipeline.to_str()), ensure_ascii=False, separators=(",", ":"))

    @property
    def vocab_size(self) -> int:
        """Rows that an embedding table needs: the largest id plus one."""
        return max(self._pipeline.get_vocab(with_added_tokens=True).values()) + 1

    def token_id(self, token: str) -> int | None:
        """The id of a token as the vocabulary spells it, or None."""
        return self._pipeline.token_to_id(token)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Token ids of cleaned texts: (N,) strings -> (N, context_length) int64, truncated and padded."""
        if isinstance(texts, str):
            raise TypeError("texts must be a sequence of strings, not one string")
        if len(texts) == 0:
            return np.zeros((0, self.context_length), dtype=np.int64)
        encoded = self._pipeline.encode_batch_fast([mend_surrogates(text) for text in texts])
        return np.array([row.ids for row in encoded], dtype=np.int64)


def parse_pipeline(text: str) -> tokenizers.Tokenizer:
    """A `tokenizers` pipeline from JSON. Raises `ModelError` where the string is not one."""
    try:
        return tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare Exception
        raise ModelError(f"not a tokenizer of the `tokenizers` library: {error}") from error


def mend_surrogates(text: str) -> str:
    """Join surrogate pairs and replace lone ones by U+FFFD: JSON can hold them, UTF-8 cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
