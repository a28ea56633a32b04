"""Gradient normalisation (arXiv 1711.02257)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from compressor.losses.balancer.base import (
    NEARLY_ZERO,
    check_losses,
    check_state,
    mean_over_ranks,
    weighted_total,
    world_size,
)
from compressor.losses.rows import full_precision

MAX_PROGRESS = 10.0
"""Cap of Lᵢ / Lᵢ(first): a loss that was nearly satisfied by chance in its first batch is a poor measure, and
would later set the targets of all others to nothing."""
NO_GRADIENT = 1e-30
"""A weighted norm that is not above this is no gradient."""


class GradNormBalancer:
    """Weights under which every loss pulls at the shared parameters as it should (arXiv 1711.02257).

    With gᵢ = ‖∂Lᵢ/∂shared‖ and Ḡ the mean of the weighted norms Gᵢ = wᵢ·gᵢ,

        progress   pᵢ = Lᵢ / Lᵢ(first)
        rate       rᵢ = pᵢ / mean p                     above 1 for a loss that lags behind
        target     Tᵢ = Ḡ · rᵢ^α / mean(r^α)
        objective  Σᵢ |wᵢ·gᵢ - Tᵢ|                      each Tᵢ a constant

    one gradient step on the objective per call, after which the weights are scaled to their sum before, n. As
    published a step's weights are those before its update: all ones in the first.

    **Departures.** The published step is taken in wᵢ and is gᵢ long. That has the unit of a gradient, which
    shrinks with the batch, and steps over zero where norms differ by orders, as those of distillation losses
    do; weights then turn negative. Here the step is taken in log wᵢ on the objective over Ḡ,

        log wᵢ ← log wᵢ - lr · sign(Gᵢ - Tᵢ) · Gᵢ / Ḡ,

    which keeps weights positive and is blind to the unit of the gradients. The published target, Ḡ·rᵢ^α, adds
    up to more than all norms together for α > 1: a loss that lags far enough could then never reach its own,
    and would grow until nothing was left for the others. Divided by mean(r^α) the targets share out the norms
    there are. Once there, weights keep swinging by about lr of themselves: the price of L1.

    **Shared parameters** are the last thing that all losses see. In the training loop these are the student's
    embeddings, where the graph of the losses ends, so that the norms cost one backward pass per loss through
    the losses alone and none through the towers. A loss that does not reach them takes no part.

    **Several processes.** Every process passes its own rows and computes the same losses on the gathered
    batch. `gather_batch` leaves W·∂L/∂rows in the rows of each of W processes, so the sum of squares over all
    of them is W² times that of the whole batch. One all-reduce gives every process the norm of one process on
    the joined batch, and with it equal weights. Parameters that are replicated instead of split would need
    their gradients averaged first, and are not for several processes.

    At the edges: a loss that is not finite, or whose gradient is zero or not finite, keeps its weight in this
    step, while the others share theirs as if it was not there; the first loss above 1e-6 counts as the first,
    until then p is 1; p is capped at `MAX_PROGRESS` (10); a negative loss counts as 0.

    Args:
        alpha: α from 0 to 10, how hard lagging losses are pushed; 0 makes all norms equal. 1.5 for NYUv2 in
            the paper, which asks for more the more the tasks differ.
        lr: step of the logarithms of the weights, above 0 and at most 1.
    """

    fixed_weights: ClassVar[bool] = False

    def __init__(self, alpha: float = 1.5, lr: float = 0.025) -> None:
        if not 0 <= alpha <= 10:
            raise ValueError(f"alpha must be from 0 to 10, got {alpha}")
        if not 0 < lr <= 1:
            raise ValueError(f"lr must be above 0 and at most 1, got {lr}")
        self.alpha = float(alpha)
        self.lr = float(lr)
        self._weights: dict[str, float] = {}
        self._first: dict[str, float] = {}

    def combine(
        self, losses: Mapping[str, Tensor], shared_parameters: Iterable[Tensor] | None = None
    ) -> tuple[Tensor, dict[str, float]]:
        """See `Balancer.combine`. The graph of the losses is kept for the backward pass that follows.

        Raises:
            ValueError: without shared parameters that require gradients.
        """
        check_losses(losses)
        shared = [tensor for tensor in shared_parameters or () if tensor.requires_grad]
        if not shared:
            raise ValueError("gradnorm compares gradients and needs shared_parameters that require them")
        weights = {name: self._weights.get(name, 1.0) for name in losses}
        total = weighted_total(losses, weights)
        self._learn(weights, self._progress(losses), gradient_norms(losses, shared))
        return total, weights

    def _progress(self, losses: Mapping[str, Tensor]) -> dict[str, float]:
        """Each finite loss over its first."""
        progress = {}
        for name, loss in mean_over_ranks(losses).items():
            if not math.isfinite(loss):
                continue
            if name in self._first:
                progress[name] = min(max(loss, 0.0) / self._first[name], MAX_PROGRESS)
            else:
                progress[name] = 1.0
                if loss > NEARLY_ZERO:
                    self._first[name] = loss
        return progress

    def _learn(
        self, weights: Mapping[str, float], progress: Mapping[str, float], norms: Mapping[str, float]
    ) -> None:
        """One gradient step on the logarithms of the weights that take part; their sum stays."""
        pulls = {name: weights[name] * norms[name] for name in progress}
        pulls = {name: pull for name, pull in pulls.items() if NO_GRADIENT < pull < math.inf}
        if not pulls:
            return
        mean_pull = sum(pulls.values()) / len(pulls)
        shares = self._shares({name: progress[name] for name in pulls})
        moved = {}
        for name, pull in pulls.items():
            target = mean_pull * shares[name]
            sign = (pull > target) - (pull < target)
            moved[name] = weights[name] * math.exp(-self.lr * sign * pull / mean_pull)
        scale = sum(weights[name] for name in pulls) / sum(moved.values())
        self._weights.update({name: weight * scale for name, weight in moved.items()})

    def _shares(self, progress: Mapping[str, float]) -> dict[str, float]:
        """r^α over its mean: what a loss should have of the mean norm."""
        mean = sum(progress.values()) / len(progress)
        powers = {name: (part / mean if mean > 0 else 1.0) ** self.alpha for name, part in progress.items()}
        mean_power = sum(powers.values()) / len(powers)
        return {name: power / mean_power for name, power in powers.items()}

    def state_dict(self) -> dict[str, Any]:
        """The weights of the next step and the first losses."""
        return {"weights": dict(self._weights), "first": dict(self._first)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Balancer.load_state_dict`."""
        check_state(state, {"weights", "first"}, "a GradNorm balancer")
        self._weights, self._first = (
            {name: float(value) for name, value in state[key].items()} for key in ("weights", "first")
        )


def gradient_norms(losses: Mapping[str, Tensor], shared: Sequence[Tensor]) -> dict[str, float]:
    """‖∂L/∂shared‖ of each loss over the rows of all processes (one collective).

    A loss that does not reach the shared tensors has the norm 0. The graph of the losses is kept.
    """
    squares = {}
    for name, loss in losses.items():
        gradients: Sequence[Tensor | None] = ()
        if loss.requires_grad:
            gradients = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
        norms = [torch.linalg.vector_norm(gradient) for gradient in gradients if gradient is not None]
        squares[name] = torch.stack(full_precision(*norms)).square().sum() if norms else loss.new_zeros(())
    # The mean over W processes of W² times a part's square is W times the square of the whole.
    return {name: math.sqrt(mean / world_size()) for name, mean in mean_over_ranks(squares).items()}
