"""What balancers are, and the arithmetic that they share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from compressor.losses.rows import full_precision

EPSILON = 1e-8
"""Added to divisors."""
NEARLY_ZERO = 100 * EPSILON
"""A loss that is not above this is no measure for a later one: the quotient would be noise."""


class Balancer(Protocol):
    """Weighs the losses of one optimiser step.

    `fixed_weights` is true where the total is the plain sum whatever the losses are: what it asks of each of
    them is known before their values.
    """

    fixed_weights: ClassVar[bool]

    def combine(
        self, losses: Mapping[str, Tensor], shared_parameters: Iterable[Tensor] | None = None
    ) -> tuple[Tensor, dict[str, float]]:
        """The total to differentiate and the weight of each loss; once per optimiser step.

        Weights are constants: gradients flow through the losses alone. A loss that is not finite makes the
        total so, which is for the training loop to notice, and changes neither the weights of the others nor
        what is remembered.

        Args:
            losses: scalars by name, the same names in the same step of every process.
            shared_parameters: tensors that all losses reach, for balancers that compare gradients. In the
                training loop the student's embeddings; with several processes, this process's rows.

        Raises:
            ValueError: for no losses or one that is not a scalar.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """What `combine` remembers, as JSON-able values."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`; equal losses then give equal weights, bit for bit.

        Raises:
            ValueError: for the state of another balancer.
        """
        ...


def check_losses(losses: Mapping[str, Tensor]) -> None:
    """Raise `ValueError` for no losses or one that is not a scalar."""
    if not losses:
        raise ValueError("there are no losses to combine")
    for name, loss in losses.items():
        if loss.ndim != 0:
            raise ValueError(f"the loss {name!r} must be a scalar, got the shape {tuple(loss.shape)}")


def check_state(state: Mapping[str, Any], keys: set[str], owner: str) -> None:
    """Raise `ValueError` unless the state has exactly these keys."""
    if set(state) != keys:
        raise ValueError(f"not the state of {owner}: {dict(state)}")


def weighted_total(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Sum of weight times loss, a scalar that gradients flow through."""
    return torch.stack(full_precision(*(weights[name] * loss for name, loss in losses.items()))).sum()


def mean_over_ranks(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Detached scalars as floats, averaged over the processes where there are several (one collective)."""
    stacked = torch.stack(full_precision(*(value.detach() for value in values.values())))
    if world_size() > 1:
        dist.all_reduce(stacked)
        stacked = stacked / world_size()
    return dict(zip(values, stacked.tolist(), strict=True))


def world_size() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def softmax(values: Mapping[str, float]) -> dict[str, float]:
    """exp(value) / sum of all exp(value), by name."""
    largest = max(values.values())
    exponentials = {name: math.exp(value - largest) for name, value in values.items()}
    total = sum(exponentials.values())
    return {name: value / total for name, value in exponentials.items()}
