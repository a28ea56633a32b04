"""From a context to a training job, for the student, its control and a teacher's fine-tuning."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.files import atomic_folder
from compressor.pipeline import team
from compressor.pipeline.context import Context
from compressor.recipe.losses import BalancerConfig, LossConfig
from compressor.recipe.training import TrainingBase

if TYPE_CHECKING:
    from compressor.data.loader import TrainingSet
    from compressor.distill.progress import ProgressEvent
    from compressor.distill.signals import Signals
    from compressor.distill.trainer import TrainingJob, TrainingResult
    from compressor.students.encoder import Model


def job_for(
    context: Context,
    model: Model,
    rows: TrainingSet,
    signals: Signals | None,
    losses: Sequence[LossConfig],
    balancer: BalancerConfig,
    section: TrainingBase,
    folder: Path,
    label: str,
    side: int | None = None,
) -> TrainingJob:
    """A training job that validates on the recipe's validation split and reports under `label`."""
    from compressor.distill.trainer import TrainingJob
    from compressor.distill.validation import Validation

    split = context.validation_split
    validation = Validation(context.pairs(split), context.decoded(split, side), model.preprocessor)
    return TrainingJob(
        model=model,
        training_set=rows,
        signals=signals,
        losses=tuple(losses),
        balancer=balancer,
        section=section,
        seed=context.recipe.seed,
        folder=folder,
        validate=validation,
        progress=shown(context, label),
    )


def shown(context: Context, label: str) -> Callable[[ProgressEvent], None]:
    """What tells the reporter of a training, step by step."""

    def show(event: ProgressEvent) -> None:
        losses = "  ".join(f"{name} {value:.3f}" for name, value in event.losses.items())
        detail = f"{losses}  {event.images_per_second:.0f} img/s"
        context.reporter.work(label, event.step, event.total, detail)

    return show


def training_facts(result: TrainingResult) -> dict[str, Any]:
    """What the report says of a training."""
    return {
        "steps": result.steps,
        "seconds": round(result.seconds, 2),
        "images_per_second": round(result.images_per_second, 1),
        "best_step": result.best_step,
        "best_rsum": result.best_metric,
    }


def publish(source: Path, target: Path) -> None:
    """Copy a checkpoint folder to where users find it, whole or not at all. The leader copies, all wait."""
    from compressor.distill.processes import barrier

    if team.leads():
        with atomic_folder(target) as temporary:
            shutil.copytree(source, temporary, dirs_exist_ok=True)
    barrier()
