"""What a training needs to know, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from accelerate import Accelerator

from compressor.data.generation import GenerationSet
from compressor.data.loader import TrainingSet
from compressor.distill.generation_objective import GenerationObjective
from compressor.distill.objective import Objective
from compressor.distill.progress import ProgressEvent
from compressor.distill.retrieval_objective import RetrievalObjective
from compressor.distill.signals import Signals
from compressor.files import hash_json
from compressor.recipe.losses import BalancerConfig, LossConfig
from compressor.recipe.training import TrainingBase
from compressor.students.encoder import Encoder, Model
from compressor.students.generator import GenerativeModel, Generator


@dataclass(frozen=True)
class Figure:
    """The figure of a validation that chooses the best checkpoint."""

    name: str
    lowest: bool = False

    def better(self, value: float, best: float) -> bool:
        """True where `value` beats the best so far."""
        return value < best if self.lowest else value > best


@dataclass(frozen=True)
class TrainingJob:
    """One dual encoder to train.

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

    figure: ClassVar[Figure] = Figure("rsum")

    def configuration(self) -> str:
        """A hash of all that decides the weights at the end; checkpoints of another one are refused."""
        return _configuration(self, None if self.signals is None else self.signals.fingerprint)

    def objective(self, accelerator: Accelerator) -> Objective:
        """The model at its training."""
        return RetrievalObjective(self, accelerator)


@dataclass(frozen=True)
class GenerationJob:
    """One model to train that captions or answers.

    `teacher` is None for a training on the ground truth alone (control, fine-tuning); it works on
    `teacher_batch` rows at a time. `validate` takes the generator in evaluation mode and returns figures,
    among them `loss`, the lowest of which chooses the best checkpoint.
    """

    model: GenerativeModel
    training_set: GenerationSet
    teacher: GenerativeModel | None
    losses: Sequence[LossConfig]
    balancer: BalancerConfig
    section: TrainingBase
    seed: int
    folder: Path
    teacher_batch: int | None = None
    validate: Callable[[Generator], dict[str, float]] | None = None
    progress: Callable[[ProgressEvent], None] | None = None

    figure: ClassVar[Figure] = Figure("loss", lowest=True)

    def configuration(self) -> str:
        """As of `TrainingJob`."""
        return _configuration(self, None if self.teacher is None else self.teacher.fingerprint)

    def objective(self, accelerator: Accelerator) -> Objective:
        """As of `TrainingJob`."""
        return GenerationObjective(self, accelerator)


Job = TrainingJob | GenerationJob


def _configuration(job: Job, teacher: str | None) -> str:
    unimportant = {"workers", "trackers", "losses", "balancer", "checkpoint_every", "control"}
    return hash_json(
        {
            "model": job.model.fingerprint,
            "data": _data(job.training_set),
            "signals": teacher,
            "losses": [loss.model_dump(mode="json") for loss in job.losses],
            "balancer": job.balancer.model_dump(mode="json"),
            "section": job.section.model_dump(mode="json", exclude=unimportant),
            "seed": job.seed,
        }
    )


def _data(rows: TrainingSet) -> dict[str, Any]:
    return {
        "pairs": rows.pairs.fingerprint,
        "pixels": hash_json([rows.digest(i) for i in range(len(rows))]),
        "augmentation": rows.augmentation.model_dump(mode="json"),
        "seed": rows.seed,
    }


@dataclass(frozen=True)
class TrainingResult:
    """A finished training. The model holds the best weights, in evaluation mode.

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
