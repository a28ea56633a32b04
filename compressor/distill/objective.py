"""What a step of a training is about: losses of a batch, and where their gradients go."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from compressor.data.loader import Batch
from compressor.distill.checkpoint import Checkpoints
from compressor.errors import DivergedError

SeedPiece = Callable[[int], None]
"""Seeds dropout and its like for one piece of a batch."""


@dataclass(frozen=True)
class Step:
    """One batch, forward.

    `losses` are scalars over the batch of all processes, weighted by the recipe and not by the balancer;
    `shared` the leaves that all of them reach, for balancers that compare gradients. Once the total has been
    sent backward, `backward` passes its gradients on into the model; `after` follows the optimiser's step.
    """

    losses: dict[str, Tensor]
    shared: Sequence[Tensor]
    backward: Callable[[], None]
    after: Callable[[], None]


class Objective(Protocol):
    """A model at its training, and what it is trained on.

    `model` holds the weights that are validated and kept; `parts` are further modules that learn, or hold
    what a checkpoint must keep, under the names of its groups.
    """

    model: nn.Module
    parts: Mapping[str, nn.Module]

    def prepare(self) -> None:
        """Make the teacher ready for all that the training will show."""
        ...

    def step(self, batch: Batch, seed_piece: SeedPiece) -> Step:
        """Losses of this process's part of a batch, in pieces where the recipe asks for them."""
        ...

    def validate(self) -> dict[str, float]:
        """Figures of the weights that the model holds now, in evaluation mode; none without a validation."""
        ...

    def save(self, folder: Path) -> None:
        """Keep the weights that the model holds now, whole or not at all."""
        ...

    def load(self, folder: Path) -> None:
        """Put back what `save` kept."""
        ...

    def close(self) -> None:
        """Take off what watched the models."""
        ...


def mean_of_all(terms: Tensor, weight: Tensor) -> Tensor:
    """Means (T,) over the rows of all processes from those of each, which are over `weight` (T,) things.

    The gradient is this process's part times the number of processes: DistributedDataParallel takes the mean.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return terms
    whole = torch.stack([terms.detach() * weight, weight])
    dist.all_reduce(whole)
    total = whole[1].clamp(min=1)
    own = terms * (dist.get_world_size() * weight / total)
    return own + (whole[0] / total - own.detach())


def read_values(
    losses: dict[str, Tensor], total: Tensor, gradient_norm: Tensor
) -> tuple[dict[str, float], float, float]:
    """Losses, total and gradient norm as numbers, in a single transfer from the device."""
    stacked = torch.stack([*losses.values(), total, gradient_norm]).detach()
    *values, total_value, norm_value = stacked.tolist()
    return dict(zip(losses, values, strict=True)), total_value, norm_value


def refuse_divergence(
    step: int,
    losses: dict[str, float],
    total: float,
    gradient_norm: float | None,
    checkpoints: Checkpoints,
) -> None:
    """Raise `DivergedError` with step, losses and last good checkpoint unless everything is finite.

    `gradient_norm` is None where overflow is ordinary and skipped (fp16 with a loss scaler).
    """
    finite = math.isfinite(total) and all(map(math.isfinite, losses.values()))
    if finite and (gradient_norm is None or math.isfinite(gradient_norm)):
        return
    values = ", ".join(f"{name} {value:.6g}" for name, value in losses.items())
    norm = "" if gradient_norm is None else f", gradient norm {gradient_norm:.6g}"
    good = checkpoints.last
    kept = f"the last good checkpoint is {good}" if good is not None else "there is no checkpoint yet"
    raise DivergedError(
        f"training diverged at step {step}: {values}, total {total:.6g}{norm}; {kept}; "
        "lower optimizer.lr or set clip_norm"
    )
