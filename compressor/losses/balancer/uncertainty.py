"""Learned log-variances (arXiv 1705.07115)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from torch import Tensor

from compressor.losses.balancer.base import check_losses, check_state, mean_over_ranks, weighted_total

MAX_WEIGHT = 1e3
"""Cap of a weight exp(-s): a loss below 0.001 is not raised to one. A hinge loss that is satisfied would
otherwise gain weight without end and rule when it returns."""


class UncertaintyBalancer:
    """Weights from a learned log-variance sᵢ of each loss (arXiv 1705.07115).

        total = Σᵢ exp(-sᵢ)·Lᵢ + sᵢ,    wᵢ = exp(-sᵢ),    all sᵢ 0 in the first step

    This is twice the paper's Gaussian form ½·exp(-s)·L + ½·s, and its form for classification,
    exp(-s)·L + ½·s, with ½ left out: either way a factor that all weights share. The best sᵢ is log Lᵢ. The
    weights therefore drift towards 1/Lᵢ, where every weighted loss is 1 and the model minimises Σ log Lᵢ.

    The value of the total holds the sᵢ, so that it is the objective that is minimised; it may be negative.
    Its gradient with respect to the model is that of the weighted sum.

    **The log-variances learn here** and not in the model's optimiser, whose rate is warmed up and decayed and
    fits weights of networks. With the slope of the total, which is known in closed form,

        sᵢ ← sᵢ - lr · clip(1 - exp(-sᵢ)·Lᵢ, -1, 1),

    taken after this step's weights are given, as in joint gradient descent. The clipping (the slope is at
    most 1 and has no bound below) lets no outlier push a loss out of the sum. 1/wᵢ is thereby close to a
    moving average of Lᵢ over 1/lr steps that starts at 1.

    At the edges: weights are capped at `MAX_WEIGHT` (1e3); a negative loss, whose likelihood has no maximum,
    counts as 0 for its sᵢ, which then falls to the cap; a loss that is not finite leaves its sᵢ alone.

    Args:
        lr: step of the log-variances, above 0 and at most 1. With 0.02 a loss of 0.01 comes to half of its
            weight of 100 after 230 steps.
    """

    fixed_weights: ClassVar[bool] = False

    def __init__(self, lr: float = 0.02) -> None:
        if not 0 < lr <= 1:
            raise ValueError(f"lr must be above 0 and at most 1, got {lr}")
        self.lr = float(lr)
        self._log_variances: dict[str, float] = {}

    def combine(
        self, losses: Mapping[str, Tensor], shared_parameters: Iterable[Tensor] | None = None
    ) -> tuple[Tensor, dict[str, float]]:
        """See `Balancer.combine`. The total is the weighted sum plus the log-variances."""
        check_losses(losses)
        log_variances = {name: self._log_variances.get(name, 0.0) for name in losses}
        weights = {name: math.exp(-value) for name, value in log_variances.items()}
        total = weighted_total(losses, weights) + sum(log_variances.values())
        for name, loss in mean_over_ranks(losses).items():
            if math.isfinite(loss):
                slope = max(1 - weights[name] * max(loss, 0.0), -1.0)
                self._log_variances[name] = max(log_variances[name] - self.lr * slope, -math.log(MAX_WEIGHT))
        return total, weights

    def state_dict(self) -> dict[str, Any]:
        """The log-variances by name."""
        return {"log_variances": dict(self._log_variances)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Balancer.load_state_dict`."""
        check_state(state, {"log_variances"}, "an uncertainty balancer")
        self._log_variances = {name: float(value) for name, value in state["log_variances"].items()}
