"""Batches for a model that writes: pictures, questions where there are any, and the text to be written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.data.decoded import DecodedImages
from compressor.data.loader import Batch, TrainingSet
from compressor.data.pairs import PairSet
from compressor.data.question_pairs import QuestionPairs
from compressor.data.randomness import keyed_integer
from compressor.preprocess.preprocessor import ImagePreprocessor, Preprocessor
from compressor.recipe.training import Augmentation


@dataclass
class GenerationBatch(Batch):
    """A batch of B pictures with k texts each: the texts of picture i are the rows from i * k on.

    `target_ids` (B * k, L) int64 hold padding alone in rows without a text. `input_ids` (B * k, L) are the
    tokens of the questions; of captions they repeat the target without its prompt. `caption` is the number of
    the first text; the others follow it.
    """

    target_ids: Tensor | None = None


class GenerationSet(TrainingSet):
    """The rows of a pair set as a model that writes is trained on them.

    An epoch shows every picture once: with `texts_per_image` of its captions, or of its questions, each with
    one of the answers that people gave to it. Both are drawn anew in every epoch, an answer as often as it
    was given, which is what BLIP's training does with weights (arXiv 2201.12086). A picture with fewer texts
    shows all of them.
    """

    def __init__(
        self,
        pairs: PairSet,
        decoded: DecodedImages,
        student: Preprocessor,
        augmentation: Augmentation,
        seed: int,
        teachers: Sequence[ImagePreprocessor] = (),
        prompt: str = "",
        texts_per_image: int = 1,
    ) -> None:
        """`teachers` are those of other geometry or normalisation; `prompt` opens every caption."""
        super().__init__(pairs, decoded, student, augmentation, seed, teachers)
        self.texts_per_image = texts_per_image
        self.asks = isinstance(pairs, QuestionPairs)
        self._texts: list[list[tuple[str, ...]]] = [
            [pairs.questions[name].answers for name in row.caption_ids]
            if isinstance(pairs, QuestionPairs)
            else [(f"{prompt} {caption}" if prompt else caption,) for caption in row.captions]
            for row in self.rows
        ]
        self._first_target = np.cumsum([0] + [len(texts) for texts in self._texts])
        flat = [texts for row in self._texts for texts in row]
        known = {text: number for number, text in enumerate(dict.fromkeys(t for ts in flat for t in ts))}
        self._ids = _tokenized(list(known), student)
        self._numbers = [tuple(known[text] for text in texts) for texts in flat]

    def target_of(self, i: int, caption: int, epoch: int) -> int:
        """Row of the token table that row i is to write in an epoch, -1 = it has none.

        Pure in (seed, id, epoch).
        """
        numbers = () if caption < 0 else self._numbers[self._first_target[i] + caption]
        if not numbers:
            return -1
        return numbers[keyed_integer("answer", self.seed, self.rows[i].id, epoch) % len(numbers)]

    def batch(self, indices: Sequence[int] | NDArray[np.int64], epoch: int) -> GenerationBatch:
        """The batch of these rows in an epoch: the same whoever asks, and in whichever order."""
        plain = super().batch(indices, epoch)
        drawn = zip(plain.index.tolist(), plain.caption.tolist(), strict=True)
        chosen = [pair for i, first in drawn for pair in self._texts_of(i, first)]
        targets = [self.target_of(i, caption, epoch) if shown else -1 for i, caption, shown in chosen]
        asked = [-1 if caption < 0 else self._first_caption[i] + caption for i, caption, _ in chosen]
        texts = {"input_ids": torch.from_numpy(self._tokens[asked].astype(np.int64))}
        return GenerationBatch(
            **vars(plain) | texts, target_ids=torch.from_numpy(self._ids[targets].astype(np.int64))
        )

    def _texts_of(self, i: int, first: int) -> Iterator[tuple[int, int, bool]]:
        """(i, caption, whether it is to be written) for each text of row i: the one that was drawn and those
        after it. Where there are no more, one is asked again and nothing is to be written."""
        count = len(self.rows[i].captions)
        for number in range(self.texts_per_image):
            yield i, (first + number) % count if count else -1, number < count


def _tokenized(texts: Sequence[str], preprocessor: Preprocessor, chunk: int = 8192) -> NDArray[np.int32]:
    """The tokens of every text and one row of padding at the end: (texts + 1, L)."""
    shape = (len(texts) + 1, preprocessor.text.context_length)
    tokens = np.full(shape, preprocessor.text.pad_id, dtype=np.int32)
    for start in range(0, len(texts), chunk):
        part = texts[start : start + chunk]
        tokens[start : start + len(part)] = preprocessor.texts(part)
    return tokens
