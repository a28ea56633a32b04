"""Dynamic weight averaging (arXiv 1803.10704)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from torch import Tensor

from compressor.losses.balancer.base import (
    NEARLY_ZERO,
    check_losses,
    check_state,
    mean_over_ranks,
    softmax,
    weighted_total,
)

MAX_RATE = 4.0
"""Cap of a rate rᵢ. A hinge loss that was nearly satisfied can grow a thousandfold from one window to the
next, and the softmax would leave nothing for the others."""


class DWABalancer:
    """More weight for losses that fall more slowly (arXiv 1803.10704).

    With Lᵢ(t) the mean of loss i over the t-th window of steps, and n losses, during window t

        rate    rᵢ = Lᵢ(t-1) / Lᵢ(t-2)
        weight  wᵢ = n · softmax(r / T)ᵢ      all ones in the first two windows

    The paper's window is an epoch, here it is a number of steps, because epochs range from a handful of steps
    to thousands and from one step to the next a rate is mostly noise. The weights sum to n and depend on
    neither the scale of a loss nor its gradient. They stay near one: at T = 2 a loss that stands still beside
    one that halves within a window has 1.12 against 0.88.

    At the edges: a rate against a loss that was zero (≤ 1e-6) is 1, as is that of a loss without a past;
    rates are capped at `MAX_RATE` (4); a negative loss counts as 0; steps in which a loss is not finite are
    left out of its mean, and a loss with no finite value in a window keeps its rate.

    Args:
        window: steps that are averaged, and during which the weights stay as they are.
        temperature: T; 2 in the paper, larger is more even.
    """

    fixed_weights: ClassVar[bool] = False

    def __init__(self, window: int = 50, temperature: float = 2.0) -> None:
        if window < 1 or not temperature > 0:
            raise ValueError(
                f"window must be at least 1 and temperature above 0, got {window} and {temperature}"
            )
        self.window = int(window)
        self.temperature = float(temperature)
        self._rates: dict[str, float] = {}
        self._before: dict[str, float] = {}
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._steps = 0

    def combine(
        self, losses: Mapping[str, Tensor], shared_parameters: Iterable[Tensor] | None = None
    ) -> tuple[Tensor, dict[str, float]]:
        """See `Balancer.combine`. The weights depend on earlier windows alone."""
        check_losses(losses)
        shares = softmax({name: self._rates.get(name, 1.0) / self.temperature for name in losses})
        weights = {name: len(losses) * share for name, share in shares.items()}
        for name, loss in mean_over_ranks(losses).items():
            if math.isfinite(loss):
                self._sums[name] = self._sums.get(name, 0.0) + max(loss, 0.0)
                self._counts[name] = self._counts.get(name, 0) + 1
        self._steps += 1
        if self._steps == self.window:
            self._close_window()
        return weighted_total(losses, weights), weights

    def _close_window(self) -> None:
        """Turn the sums into means, and the means of two windows into rates."""
        for name, total in self._sums.items():
            mean = total / self._counts[name]
            before = self._before.get(name, 0.0)
            self._rates[name] = min(mean / before, MAX_RATE) if before > NEARLY_ZERO else 1.0
            self._before[name] = mean
        self._sums, self._counts, self._steps = {}, {}, 0

    def state_dict(self) -> dict[str, Any]:
        """Rates and means of the last whole window, and the sums of the one that is open."""
        return {
            "window": self.window,
            "steps": self._steps,
            "rates": dict(self._rates),
            "before": dict(self._before),
            "sums": dict(self._sums),
            "counts": dict(self._counts),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Balancer.load_state_dict`; the state of another window is refused too."""
        check_state(state, set(self.state_dict()), "a DWA balancer")
        if state["window"] != self.window:
            raise ValueError(f"the state is of windows of {state['window']} steps, not of {self.window}")
        self._steps = int(state["steps"])
        self._counts = {name: int(value) for name, value in state["counts"].items()}
        self._rates, self._before, self._sums = (
            {name: float(value) for name, value in state[key].items()} for key in ("rates", "before", "sums")
        )
