"""Losses with known values and gradients, and every balancer by its name in a recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from compressor.losses import Balancer, DSMDBalancer, StaticBalancer
from compressor.losses.balancer import DWABalancer, GradNormBalancer, UncertaintyBalancer

NAMES = ("contrastive", "feature", "similarity", "hard_negative")
EVERY: dict[str, Callable[[], Balancer]] = {
    "static": StaticBalancer,
    "dsmd": DSMDBalancer,
    "dsmd_rates": lambda: DSMDBalancer(rates="raw"),
    "uncertainty": UncertaintyBalancer,
    "gradnorm": GradNormBalancer,
    "dwa": lambda: DWABalancer(window=2),
}


def tensors(values: Sequence[float]) -> dict[str, Tensor]:
    """Losses that are just these numbers."""
    return {
        name: torch.tensor(value, dtype=torch.float64) for name, value in zip(NAMES, values, strict=False)
    }


def sloped(values: Sequence[float], norms: Sequence[float]) -> tuple[dict[str, Tensor], Tensor]:
    """Losses with these values, and with gradients of these norms at the leaf that is returned with them."""
    leaf = torch.zeros(len(values), 3, dtype=torch.float64, requires_grad=True)
    direction = torch.tensor([2.0, -1.0, 2.0], dtype=torch.float64) / 3
    slopes = torch.tensor(norms, dtype=torch.float64)
    losses = {
        name: value + slopes[i] * (leaf[i] @ direction)
        for i, (name, value) in enumerate(tensors(values).items())
    }
    return losses, leaf


def weigh(balancer: Balancer, values: Sequence[float], norms: Sequence[float] | None = None) -> list[float]:
    """The weights of one step."""
    losses, leaf = sloped(values, [1.0] * len(values) if norms is None else norms)
    return list(balancer.combine(losses, [leaf])[1].values())
