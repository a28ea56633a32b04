"""Random inputs for the losses and the checks that all of them share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st

from compressor.losses import contrastive_loss, feature_loss, hard_negative_loss, similarity_loss, task_loss

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

LOSSES: dict[str, Loss] = {
    "contrastive": contrastive_loss,
    "contrastive_queue": lambda s, t: contrastive_loss(
        s, t, negatives=rows(7, s.shape[1], 99, torch.bfloat16).to(s)
    ),
    "feature_l1": feature_loss,
    "feature_l2": lambda s, t: feature_loss(s, t, norm="l2"),
    "similarity": similarity_loss,
    "hard_negative": hard_negative_loss,
    "hard_negative_sum": lambda s, t: hard_negative_loss(s, t, mining="sum"),
    "task": lambda s, t: task_loss(s, t, 14.0),
}


def rows(count: int, dim: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """(count, dim) normal numbers times a random length of each row."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    lengths = torch.rand(count, 1, generator=generator, dtype=torch.float64) * 3 + 0.1
    return (values * lengths).to(dtype)


@dataclass(frozen=True)
class Case:
    student: torch.Tensor
    teacher: torch.Tensor
    negatives: torch.Tensor
    mask: torch.Tensor
    square_mask: torch.Tensor

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        return self.student.numpy(), self.teacher.numpy()


@st.composite
def cases(draw: st.DrawFn) -> Case:
    size, dim, queue = draw(st.integers(1, 6)), draw(st.integers(1, 7)), draw(st.integers(0, 8))
    seed = draw(st.integers(0, 2**20))
    generator = torch.Generator().manual_seed(seed + 3)
    share = draw(st.sampled_from([0.0, 0.3, 1.0]))
    return Case(
        rows(size, dim, seed),
        rows(size, dim, seed + 1),
        rows(queue, dim, seed + 2),
        torch.rand(size, queue, generator=generator) < share,
        torch.rand(size, size, generator=generator) < share,
    )
