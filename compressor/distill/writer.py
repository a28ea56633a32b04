"""A student that writes, with the terms of its losses: what one piece of a batch goes through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressor.data.loader import normalize_pixels
from compressor.distill.generation_maps import GenerationAlignment
from compressor.distill.generation_teacher import Taught
from compressor.distill.generation_tokens import Tokens
from compressor.losses.logits import logit_loss
from compressor.preprocess.spec import ImageSpec
from compressor.recipe.losses import LogitsLoss, LossConfig
from compressor.students.generator import Generator, task_loss


@dataclass(frozen=True)
class Piece:
    """Pictures of a batch that go through the student together, with their texts.

    Pixels (B, 3, H, W) uint8, target ids (N, L), question ids (N, M) or None, all on the student's device;
    the teacher's pixels (B, 3, H', W') uint8 wherever they are, None without a teacher. N is a multiple of B.
    """

    pixels: Tensor
    target_ids: Tensor
    question_ids: Tensor | None
    teacher_pixels: Tensor | None


class Writer(nn.Module):
    """The student with the terms of its losses behind one `forward`, which is what DistributedDataParallel
    wraps: logits are too large to be handed around."""

    def __init__(
        self,
        generator: Generator,
        spec: ImageSpec,
        losses: Sequence[LossConfig],
        alignment: GenerationAlignment | None,
    ) -> None:
        """`losses` are those on logits, `alignment` is what compares attention maps."""
        super().__init__()
        assert isinstance(generator, nn.Module)
        self.generator = generator
        self._spec = spec
        self._losses = losses
        self._alignment = alignment

    def forward(
        self, pixels: Tensor, target_ids: Tensor, question_ids: Tensor | None, taught: Taught | None
    ) -> Tensor:
        """The terms (T,), means over as many things as `counts` says, in the order of `GenerationLosses`."""
        output = self.generator(normalize_pixels(pixels, self._spec), target_ids, question_ids)
        tokens = Tokens(output.labels, output.target_mask, output.question_mask)
        terms = []
        for config in self._losses:
            if isinstance(config, LogitsLoss):
                assert taught is not None  # a recipe with this loss and without a teacher is refused
                terms.append(logit_loss(output.logits, taught.logits, config.temperature, tokens.labelled))
            else:
                terms.append(task_loss(output.logits, output.labels))
        if self._alignment is not None:
            assert taught is not None
            terms += self._alignment.terms(taught.maps, tokens)
        return torch.stack(terms)

    def counts(self, piece: Piece) -> Tensor:
        """(T,) float32, the number of things that each term of a piece is a mean over: labelled tokens, or
        entries of attention maps (rows, where the recipe's reduction says so).

        Means of parts of a batch, weighted so, give the mean of the batch (of amad's `rkd`, which compares
        rows, only nearly). Nothing is computed but the counts.
        """
        tokens = Tokens.of(piece.target_ids, piece.question_ids, self.generator.vocabulary)
        counts = [tokens.labelled.sum()] * len(self._losses)
        if self._alignment is not None:
            counts += self._alignment.counts(tokens)
        return torch.stack(counts).to(torch.float32)
