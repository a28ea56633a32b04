"""The self-adaptive balancer of arXiv 2404.10838."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor

from compressor.losses.balancer.base import (
    EPSILON,
    NEARLY_ZERO,
    check_losses,
    mean_over_ranks,
    softmax,
    weighted_total,
)

MAX_MAGNITUDE = 1e4
"""Cap of a magnitude aᵢ = m / (Lᵢ + ε). Ordinary losses stay below it (an L1 feature loss of 0.005 beside a
contrastive loss of 40 has 8e3); a hinge loss that is nearly satisfied would reach 1e8 and let its last row
rule."""


class DSMDBalancer:
    """Dynamic self-adaptive loss balancing (arXiv 2404.10838).

    Of the detached losses Lᵢ, averaged over processes, with m = max Lᵢ and n losses:

        magnitude  aᵢ = m / (Lᵢ + ε)                         brings every loss to the size of the largest
        rate       rᵢ = adjustedᵢ(now) / adjustedᵢ(before)   adjustedᵢ = aᵢ·(Lᵢ + ε)       rates = "published"
                   rᵢ = Lᵢ(now) / Lᵢ(before)                                               rates = "raw"
        weight     wᵢ = k · softmax(r / τ)ᵢ · aᵢ             all ones in the first step

    **What the published form really does.** Every adjusted loss equals m by construction, so all rates are
    equal, the softmax is k/n for ever and wᵢ = (k/n)·aᵢ: it equalises magnitudes and no more; no dynamics of
    any loss enters. `rates="raw"` takes the rates from the losses themselves, which is what the paper's text
    describes: a loss that falls more slowly than the others gets more weight. With raw rates a loss that
    hovers near zero has wild rates; a larger τ calms them.

    Departures from the formulas, all at the edges: adjusted losses hold the same ε as the divisor, so that a
    loss of zero does not return with a rate of 1e8; a raw rate against a loss that was zero (≤ 1e-6) is 1;
    magnitudes are capped at `MAX_MAGNITUDE` (1e4), so a hinge loss of zero is worth at most 1e4 · k; a
    negative loss counts as 0; a non-finite loss gets the weight 1, is left out of the others' weights and of
    the state, and makes the total non-finite, which is for the training loop to notice. A loss without a past
    has rate 1.

    Args:
        k: sum of the softmax weights; 10 in the paper.
        temperature: τ.
        rates: `published` or `raw`.
    """

    fixed_weights: ClassVar[bool] = False

    def __init__(
        self, k: float = 10, temperature: float = 1.0, rates: Literal["published", "raw"] = "published"
    ) -> None:
        if not k > 0 or not temperature > 0:
            raise ValueError(f"k and temperature must be above 0, got {k} and {temperature}")
        if rates not in ("published", "raw"):
            raise ValueError(f"rates must be 'published' or 'raw', got {rates!r}")
        self.k = float(k)
        self.temperature = float(temperature)
        self.rates = rates
        self._before: dict[str, float] | None = None

    def combine(
        self, losses: Mapping[str, Tensor], shared_parameters: Iterable[Tensor] | None = None
    ) -> tuple[Tensor, dict[str, float]]:
        """See `Balancer.combine`. The weights are constants: gradients flow through the losses alone."""
        check_losses(losses)
        weights = dict.fromkeys(losses, 1.0)
        values = {name: value for name, value in mean_over_ranks(losses).items() if math.isfinite(value)}
        if values:
            largest = max(0.0, *values.values())
            magnitudes = {name: largest / (max(value, 0.0) + EPSILON) for name, value in values.items()}
            now = self._compared(values, magnitudes)
            if self._before is not None:
                shares = softmax({name: self._rate(name, now[name]) / self.temperature for name in now})
                for name, share in shares.items():
                    weights[name] = self.k * share * min(magnitudes[name], MAX_MAGNITUDE)
            self._before = {**(self._before or {}), **now}
        return weighted_total(losses, weights), weights

    def _compared(self, values: dict[str, float], magnitudes: dict[str, float]) -> dict[str, float]:
        """What a rate compares with its value of the step before."""
        if self.rates == "raw":
            return values
        return {name: magnitudes[name] * (max(value, 0.0) + EPSILON) for name, value in values.items()}

    def _rate(self, name: str, now: float) -> float:
        before = (self._before or {}).get(name)
        if before is None or (self.rates == "raw" and before <= NEARLY_ZERO):
            return 1.0
        return now / (before + EPSILON)

    def state_dict(self) -> dict[str, Any]:
        """The losses of the step before (adjusted or raw, as `rates` says), None before the first step."""
        return {"rates": self.rates, "before": None if self._before is None else dict(self._before)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`.

        Raises:
            ValueError: for the state of another balancer or of the other kind of rates.
        """
        if set(state) != {"rates", "before"} or state["rates"] != self.rates:
            raise ValueError(f"not the state of a DSMD balancer with {self.rates} rates: {dict(state)}")
        before = state["before"]
        self._before = None if before is None else {name: float(value) for name, value in before.items()}
