"""How fast this machine trains: a forward and a backward pass, timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SAMPLE = 16
"""Pairs in the step that is timed."""


def training_device() -> str:
    """Where a training here would run."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def measured_speed(forward: Callable[[], Tensor], flops: int, tries: int = 4) -> float:
    """Floating-point operations a second of a scalar's forward pass, which takes `flops`, and of its backward
    pass, which takes twice as many; the best of a few."""
    seconds = []
    for _ in range(tries):
        started = time.perf_counter()
        total = forward()
        total.backward()
        total.item()
        seconds.append(time.perf_counter() - started)
    return 3 * flops / min(seconds)
