"""The real samples on which an exported model that writes is compared with the PyTorch model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compressor.data.pairs import PairSet
from compressor.data.question_pairs import QuestionPairs
from compressor.errors import DataError
from compressor.students.generator import GenerativeModel


@dataclass(frozen=True)
class WriterSamples:
    """Row by row a picture, the text that people wrote, and for VQA the question.

    `pixel_values` float32 (N, 3, H, W); `target_ids` int64 (N, L) as the tokeniser writes them, the prompt
    included; `question_ids` int64 (N, M) or None.
    """

    pixel_values: NDArray[np.float32]
    target_ids: NDArray[np.int64]
    question_ids: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.pixel_values)

    def rows(self, count: int) -> WriterSamples:
        """The first `count` of them."""
        questions = None if self.question_ids is None else self.question_ids[:count]
        return WriterSamples(self.pixel_values[:count], self.target_ids[:count], questions)

    @classmethod
    def of_pairs(
        cls, pairs: PairSet, kept: Sequence[int], model: GenerativeModel, samples: int
    ) -> WriterSamples:
        """At most `samples` of the rows `kept` of `pairs` (those that decode), spread evenly over them: each
        with its first caption, or its first question and that question's commonest answer.

        Raises `DataError` where there are fewer than two.
        """
        usable = [index for index in kept if pairs.rows[index].captions]
        count = min(samples, len(usable))
        if count < 2:
            raise DataError(
                f"the {pairs.split} split has {count} usable images with a text; an exported model cannot be "
                "compared with its original on fewer than two"
            )
        chosen = [usable[step * len(usable) // count] for step in range(count)]
        texts = [pairs.rows[index].captions[0] for index in chosen]
        questions = None
        if isinstance(pairs, QuestionPairs):
            questions = model.question_ids(texts)
            answers = [pairs.questions[pairs.rows[index].caption_ids[0]].answers for index in chosen]
            texts = [max(given, key=given.count, default="") for given in answers]
        pixels = model.preprocessor.images([pairs.image(index) for index in chosen])
        return cls(pixels, model.target_ids(texts), questions)
