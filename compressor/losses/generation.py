"""The losses of a model that writes, put together from terms that were computed where its logits are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from compressor.losses.build import alignment_factor
from compressor.recipe.losses import AMADLoss, LogitsLoss, LossConfig, TaskLoss


class GenerationLosses(nn.Module):
    """Weights and factors of a recipe's losses; logits are too large to leave the process that made them.

    Raises `ValueError` for a loss that is not one of a model that writes.
    """

    def __init__(self, configs: Sequence[LossConfig]) -> None:
        super().__init__()
        for config in configs:
            if not isinstance(config, TaskLoss | LogitsLoss | AMADLoss):
                raise ValueError(f"the loss '{config.kind}' is not one of a model that writes")
        self.plain = tuple(config for config in configs if isinstance(config, TaskLoss | LogitsLoss))
        self.alignment = next((config for config in configs if isinstance(config, AMADLoss)), None)
        matching = self.alignment is not None and self.alignment.alpha == "match_initial_scale"
        self.matched_alpha: Tensor | None
        self.register_buffer("matched_alpha", torch.tensor(torch.nan) if matching else None)

    @property
    def settled(self) -> bool:
        """True where every factor is known: the one that matches the scale is, once a batch was seen."""
        return self.matched_alpha is None or not bool(torch.isnan(self.matched_alpha))

    def forward(self, terms: Tensor) -> dict[str, Tensor]:
        """Every loss under its kind, a scalar times its `weight`.

        Args:
            terms: (T,) over the batch of all processes: one for each of `plain`, in order, then one for each
                pair of attention layers that `amad` compares, which add up.
        """
        losses: dict[str, Tensor] = {}
        for k, config in enumerate(self.plain):
            losses[config.kind] = config.weight * terms[k]
        if self.alignment is not None:
            found = terms[len(self.plain) :].sum()
            factor = alignment_factor(self.alignment, self.matched_alpha, found, losses)
            losses[self.alignment.kind] = self.alignment.weight * factor * found
        return losses
