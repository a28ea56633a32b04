"""The plain sum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from torch import Tensor

from compressor.losses.balancer.base import check_losses, weighted_total


class StaticBalancer:
    """The plain sum: every weight is 1 (the recipe's `weight` is already in the losses)."""

    fixed_weights: ClassVar[bool] = True

    def combine(
        self, losses: Mapping[str, Tensor], shared_parameters: Iterable[Tensor] | None = None
    ) -> tuple[Tensor, dict[str, float]]:
        """See `Balancer.combine`."""
        check_losses(losses)
        weights = dict.fromkeys(losses, 1.0)
        return weighted_total(losses, weights), weights

    def state_dict(self) -> dict[str, Any]:
        """Nothing is remembered."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Accepts the empty state only; see `Balancer.load_state_dict`."""
        if state:
            raise ValueError(f"the static balancer has no state, got {', '.join(sorted(state))}")
