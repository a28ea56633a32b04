"""From a context to the training of a model that writes, and its fine-tuning before it teaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.pipeline.context import Context
from compressor.pipeline.training import publish, shown, training_facts
from compressor.recipe.losses import BalancerConfig, LossConfig, StaticBalance, TaskLoss
from compressor.recipe.training import Augmentation, FineTune, TrainingBase
from compressor.runtime.schema import Role

if TYPE_CHECKING:
    from compressor.students.generator import GenerativeModel


def train_role(context: Context, role: Role, folder: Path) -> dict[str, Any]:
    """Train the student, or its control on the ground truth alone, and publish its best checkpoint."""
    section, writers = context.recipe.distill, context.writers
    student = role == "student"
    # A teacher that no loss asks would have its pictures prepared for nothing.
    taught = student and any(loss.requires for loss in section.losses)
    return _train(
        context,
        writers.fresh_student(),
        writers.teacher if taught else None,
        section.losses if student else (TaskLoss(kind="task"),),
        section.balancer if student else StaticBalance(),
        section,
        folder,
        "distilling" if taught else "training without a teacher",
        writers.checkpoint(role),
    )


def fine_tune(context: Context, section: FineTune, key: str) -> dict[str, Any]:
    """Train the teacher on the ground truth; the best weights go to `teacher/checkpoint`."""
    from torch import nn

    from compressor.students.lock import lock_image

    model = context.writers.untuned_teacher
    assert isinstance(model.generator, nn.Module)
    model.generator.requires_grad_(True)
    if section.lock_image:
        lock_image(model.generator)
    tuned = replace(model, origin=f"{model.origin}, trained on the recipe's data")
    folder = context.folder.training_of(key) / "teacher"
    facts = _train(
        context,
        tuned,
        None,
        (TaskLoss(kind="task"),),
        StaticBalance(),
        section,
        folder,
        "fine-tuning",
        context.folder.tuned_teacher,
    )
    context.writers.forget_untuned()
    return facts


def _train(
    context: Context,
    model: GenerativeModel,
    teacher: GenerativeModel | None,
    losses: Sequence[LossConfig],
    balancer: BalancerConfig,
    section: TrainingBase,
    folder: Path,
    label: str,
    target: Path,
) -> dict[str, Any]:
    from compressor.distill.generation_validation import GenerationValidation
    from compressor.distill.trainer import GenerationJob, train

    writers = context.writers
    validation = writers.rows(context.validation_split, model.preprocessor, Augmentation())
    job = GenerationJob(
        model=model,
        training_set=writers.rows(
            "train", model.preprocessor, section.augmentation, teacher, section.texts_per_image
        ),
        teacher=teacher,
        losses=tuple(losses),
        balancer=balancer,
        section=section,
        seed=context.recipe.seed,
        folder=folder,
        teacher_batch=writers.section.batch_size,
        validate=GenerationValidation(validation),
        progress=shown(context, label),
    )
    result = train(job)
    publish(result.best, target)
    facts = training_facts(result)
    facts["best_loss"] = facts.pop("best_rsum")
    return facts | {"curve": str(result.curves.relative_to(context.folder.root))}
