"""What a training needs to know, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressor.data.loader import TrainingSet
from compressor.distill.progress import ProgressEvent
from compressor.distill.signals import Signals
from compressor.files import hash_json
from compressor.recipe.losses import BalancerConfig, LossConfig
from compressor.recipe.training import TrainingBase
from compressor.students.encoder import Encoder, Model


@dataclass(frozen=True)
class TrainingJob:
    """One model to train.

    `signals` is the teacher's side, None for a training without one (control, fine-tuning). `validate` takes
    the encoder in evaluation mode and returns figures, among them `rsum`, which chooses the best checkpoint;
    without it the last weights are the best.
    """

    model: Model
    training_set: TrainingSet
    signals: Signals | None
    losses: Sequence[LossConfig]
    balancer: BalancerConfig
    section: TrainingBase
    seed: int
    folder: Path
    validate: Callable[[Encoder], dict[str, float]] | None = None
    progress: Callable[[ProgressEvent], None] | None = None

    def configuration(self) -> str:
        """A hash of all that decides the weights at the end; checkpoints of another one are refused."""
        return hash_json(
            {
                "model": self.model.fingerprint,
                "data": self._data(),
                "signals": None if self.signals is None else self.signals.fingerprint,
                "losses": [loss.model_dump(mode="json") for loss in self.losses],
                "balancer": self.balancer.model_dump(mode="json"),
                "section": self.section.model_dump(
                    mode="json",
                    exclude={"workers", "trackers", "losses", "balancer", "checkpoint_every", "control"},
                ),
                "seed": self.seed,
            }
        )

    def _data(self) -> dict[str, Any]:
        rows = self.training_set
        return {
            "pairs": rows.pairs.fingerprint,
            "pixels": hash_json([rows.digest(i) for i in range(len(rows))]),
            "augmentation": rows.augmentation.model_dump(mode="json"),
            "seed": rows.seed,
        }


@dataclass(frozen=True)
class TrainingResult:
    """A finished training. The model's encoder holds the best weights, in evaluation mode.

    `best` is a folder with them (`model.safetensors`; a whole checkpoint where the model can be described as
    one), `last` the last training checkpoint, `curves` is metrics.jsonl. `seconds` and `images_per_second`
    count optimiser steps alone, over all sessions of a resumed run. `best_metric` is None without validation.
    """

    best: Path
    last: Path
    curves: Path
    steps: int
    seconds: float
    images_per_second: float
    best_step: int
    best_metric: float | None
