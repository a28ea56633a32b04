"""What a training tells whoever watches it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """The state after one optimiser step.

    `losses` are the weighted loss terms of this step (before the balancer), `images_per_second` counts the
    pairs of all processes over the last steps, `eta_seconds` is the time left at that speed, `validation`
    holds figures when this step was followed by a validation.
    """

    step: int
    total: int
    losses: dict[str, float]
    images_per_second: float
    eta_seconds: float
    validation: dict[str, float] = field(default_factory=dict)
