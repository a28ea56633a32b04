"""Fine-tuning of a teacher with the task loss, before it teaches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from compressor.files import sha256_file
from compressor.pipeline.context import Context
from compressor.pipeline.training import job_for, training_facts
from compressor.recipe.losses import StaticBalance, TaskLoss
from compressor.recipe.training import FineTune
from compressor.students.encoder import Model


def fine_tune(context: Context, section: FineTune, key: str) -> dict[str, Any]:
    """Train the teacher on the recipe's pairs; the best weights go to `teacher/model.safetensors`."""
    from safetensors.torch import load_file, save_file

    from compressor.data.loader import TrainingSet
    from compressor.distill.trainer import train

    target = context.folder.teacher / "model.safetensors"
    target.unlink(missing_ok=True)
    model = context.teacher_model
    model.encoder.requires_grad_(True)  # type: ignore[attr-defined]
    rows = TrainingSet(
        context.pairs("train"),
        context.decoded("train"),
        model.preprocessor,
        section.augmentation,
        context.recipe.seed,
        None,
    )
    folder = context.folder.training / key[:12] / "teacher"
    losses = (TaskLoss(kind="task"),)
    result = train(job_for(context, model, rows, None, losses, StaticBalance(), section, folder, "fine-tuning"))
    weights = load_file(result.best / "model.safetensors")
    save_file(weights, target)
    del context.teacher_model  # the next use loads it anew, frozen, with the tuned weights
    return training_facts(result)


def with_weights(model: Model, file: Path) -> Model:
    """The same model with the weights of a fine-tuning, and an identity of its own."""
    from safetensors.torch import load_file

    model.encoder.load_state_dict(load_file(file), strict=True)  # type: ignore[attr-defined]
    return replace(
        model,
        fingerprint=f"{model.fingerprint}+{sha256_file(file)[:32]}",
        origin=f"{model.origin}, fine-tuned on the recipe's data",
    )
