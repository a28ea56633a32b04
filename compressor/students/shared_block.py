"""The block on top of both towers: what images and texts are told by the same weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SharedBlock(nn.Module):
    """Residual MLPs behind layer norms: (B, width) of an image or of a text -> (B, width).

    Each starts as the identity: a student begins as it would without the block.
    """

    def __init__(self, width: int, layers: int = 1, hidden_ratio: float = 2.0) -> None:
        super().__init__()
        hidden = max(1, round(width * hidden_ratio))
        self.blocks = nn.ModuleList(ResidualMLP(width, hidden) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        """Projected features of either modality, not normalised."""
        for block in self.blocks:
            x = block(x)
        return x


class ResidualMLP(nn.Module):
    """x + W2 · GELU(W1 · LayerNorm(x))."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, hidden)
        self.outer = nn.Linear(hidden, width)
        nn.init.normal_(self.inner.weight, std=(2 * width) ** -0.5)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.inner.bias)
        nn.init.zeros_(self.outer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width) -> (B, width)."""
        return x + self.outer(torch.nn.functional.gelu(self.inner(self.norm(x))))
