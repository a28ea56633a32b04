"""Random image-text pairs of student and teacher, and each loss as a function of those four."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from compressor.losses.affinity import affinity_loss, affinity_to_distributions
from compressor.losses.gradient import gradient_loss
from compressor.losses.gram import gram_loss
from compressor.losses.icl import icl_loss
from compressor.losses.logits import logit_loss
from compressor.losses.masked_feature import masked_feature_loss
from compressor.losses.regression import regression_loss
from compressor.losses.rkd_distance import rkd_distance_loss
from tests.losses.cases import rows

PairLoss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def to_even_distributions(v: Tensor, t: Tensor, V: Tensor, T: Tensor) -> Tensor:
    """The distributions of an undecided ensemble; the teacher's rows only say how many there are."""
    even = torch.full((len(V), len(T)), 1 / max(len(V), 1), dtype=torch.promote_types(v.dtype, torch.float32))
    return affinity_to_distributions(v, t, even, even)


PAIR_LOSSES: dict[str, PairLoss] = {
    "affinity": affinity_loss,
    "affinity_cross_entropy": lambda *sides: affinity_loss(*sides, 0.3, 0.2, "cross_entropy"),
    "affinity_distributions": to_even_distributions,
    "icl": icl_loss,
    "gradient": gradient_loss,
    "gradient_sum": lambda *sides: gradient_loss(*sides, 0.3, reduction="sum"),
    "gram": gram_loss,
    "gram_batch": lambda *sides: gram_loss(*sides, level="batch"),
    "regression": lambda v, t, V, T: regression_loss(v, t, V),
    "regression_normalized": lambda v, t, V, T: regression_loss(v, t, T, normalize=True),
    "logits": lambda v, t, V, T: logit_loss(v, V) + logit_loss(t, T, 2.0),
    "rkd_distance": lambda v, t, V, T: rkd_distance_loss(v, V) + rkd_distance_loss(t, T),
    "masked_feature": lambda v, t, V, T: masked_feature_loss(v, V) + masked_feature_loss(t, T),
}


def four(
    size: int, seed: int, dim: int = 4, wide: int = 4, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """Images and texts (size, dim) of the student, (size, wide) of the teacher."""
    widths = (dim, dim, wide, wide)
    return [rows(size, width, seed + i, dtype) for i, width in enumerate(widths)]


@dataclass(frozen=True)
class PairCase:
    sides: list[Tensor]
    mask: Tensor
    has_text: Tensor

    @property
    def arrays(self) -> list[np.ndarray]:
        return [side.numpy() for side in self.sides]


@st.composite
def pair_cases(draw: st.DrawFn, same_width: bool = True) -> PairCase:
    size, dim, seed = draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.integers(0, 2**20))
    wide = dim if same_width else draw(st.integers(1, 6))
    share = draw(st.sampled_from([0.0, 0.4, 1.0]))
    chance = torch.rand(size, size + 1, generator=torch.Generator().manual_seed(seed))
    return PairCase(four(size, seed, dim, wide), chance[:, :size] < share, chance[:, size] >= share)
