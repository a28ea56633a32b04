"""Training curves of a finished run."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def curves(steps: int = 372) -> dict[str, list[dict[str, Any]]]:
    """Metrics as training writes them: noisy losses, moving weights, a validation every 31 steps."""
    generator = np.random.default_rng(0)
    starts = {
        "contrastive": (5.1, 1.3),
        "feature": (0.071, 0.024),
        "similarity": (0.48, 0.09),
        "hard_negative": (0.6, 0.07),
    }
    found: dict[str, list[dict[str, Any]]] = {"student": [], "control": []}
    for step in range(1, steps + 1):
        decay = math.exp(-step / 110)
        losses = {
            name: (end + (start - end) * decay) * generator.normal(1, 0.05)
            for name, (start, end) in starts.items()
        }
        weights = {
            name: 10 / 4 * generator.normal(1, 0.04) * max(losses.values()) / loss
            for name, loss in losses.items()
        }
        student: dict[str, Any] = {
            "step": step,
            "losses": losses,
            "weights": weights,
            "total": sum(losses.values()),
        }
        task = {"task": (0.7 + 4.0 * math.exp(-step / 160)) * generator.normal(1, 0.04)}
        control: dict[str, Any] = {
            "step": step,
            "losses": task,
            "weights": {"task": 1.0},
            "total": task["task"],
        }
        if step % 31 == 0:
            student["validation"] = {"rsum": 512 - 420 * math.exp(-step / 75) + generator.normal(0, 3)}
            control["validation"] = {"rsum": 431 - 400 * math.exp(-step / 110) + generator.normal(0, 3)}
        found["student"].append(student)
        found["control"].append(control)
    return found
