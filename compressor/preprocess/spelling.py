"""Token ids back to text, the same way wherever a model writes: in training and on a device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenizers import decoders

from compressor.preprocess.text import Tokenizer, parse_pipeline

_WORD_END = "</w>"
"""What CLIP's tokeniser marks the end of a word with."""


class Speller:
    """Spells the ids that a model wrote with the words of its tokeniser."""

    def __init__(self, tokenizer: Tokenizer, pad_id: int, end_id: int) -> None:
        self._pipeline = parse_pipeline(tokenizer.to_json())
        if self._pipeline.decoder is None:
            # A tokeniser of ours, trained or CLIP's, names none.
            self._pipeline.decoder = decoders.ByteLevel()
        self._silent = {pad_id, end_id, int(tokenizer([""])[0][0])}
        self._words = tokenizer.vocab_size

    def __call__(self, rows: Iterable[Sequence[int]]) -> list[str]:
        """(N, T) ids -> N texts: special tokens dropped, pieces of words joined."""
        words = [[i for i in row if i not in self._silent and i < self._words] for row in rows]
        texts: list[str] = self._pipeline.decode_batch(words, skip_special_tokens=True)
        return [" ".join(text.replace(_WORD_END, " ").split()) for text in texts]
