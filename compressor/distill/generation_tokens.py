"""Which tokens of a batch count, told by its ids alone: no forward pass is needed to know them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.students.generator import IGNORED, Vocabulary, force_targets, mask_question


@dataclass(frozen=True)
class Tokens:
    """The tokens of B rows as a generator forced on them reads them, without the columns of padding alone.

    `labels` int64 (B, T), what comes next or `IGNORED`; `target` bool (B, T), true where the decoder reads a
    token; `question` bool (B, Q) the same for the question, None where there is none.
    """

    labels: Tensor
    target: Tensor
    question: Tensor | None

    @classmethod
    def of(cls, target_ids: Tensor, question_ids: Tensor | None, vocabulary: Vocabulary) -> Tokens:
        """From (B, L) and (B, M) ids, as the tokeniser writes them."""
        _, labels, target = force_targets(target_ids, vocabulary)
        question = None if question_ids is None else mask_question(question_ids, vocabulary)[1]
        return cls(labels, target, question)

    @property
    def labelled(self) -> Tensor:
        """bool (B, T), true where a token is to be predicted."""
        return self.labels != IGNORED

    @property
    def predicting(self) -> Tensor:
        """bool (B, T), true where a token is read and another follows it.

        The closing token is read only in rows that are shorter than the longest of their pass, and predicts
        nothing: with it, what counts would depend on how a batch is cut.
        """
        followed = self.target[:, 1:]
        followed = torch.cat([followed, followed.new_zeros(len(followed), 1)], dim=1)
        return self.target & (followed | self.labelled)
