"""Fine-tuning of a teacher with the task loss, before it teaches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from compressor.pipeline.context import Context
from compressor.pipeline.training import job_for, publish, training_facts
from compressor.recipe.losses import StaticBalance, TaskLoss
from compressor.recipe.training import FineTune


def fine_tune(context: Context, section: FineTune, key: str) -> dict[str, Any]:
    """Train the teacher on the recipe's pairs; the best weights go to `teacher/checkpoint`."""
    from torch import nn

    from compressor.data.loader import TrainingSet
    from compressor.distill.trainer import train
    from compressor.students.encoder import Model
    from compressor.students.lock import lock_image

    (teacher,) = context.teachers
    model = teacher.load()
    assert isinstance(model, Model)
    assert isinstance(model.encoder, nn.Module)
    model.encoder.requires_grad_(True)
    if section.lock_image:
        lock_image(model.encoder)
    model = replace(model, origin=f"{model.origin}, fine-tuned on the recipe's data")
    side = model.preprocessor.image.size
    rows = TrainingSet(
        context.pairs("train"),
        context.decoded("train", side),
        model.preprocessor,
        section.augmentation,
        context.recipe.seed,
    )
    folder = context.folder.training_of(key) / "teacher"
    job = job_for(
        context,
        model,
        rows,
        None,
        (TaskLoss(kind="task"),),
        StaticBalance(),
        section,
        folder,
        "fine-tuning",
        side,
    )
    result = train(job)
    publish(result.best, context.folder.tuned_teacher)
    return training_facts(result) | {"curve": str(result.curves.relative_to(context.folder.root))}
