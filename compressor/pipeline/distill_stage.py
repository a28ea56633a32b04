"""Stage `distill`: train the student on the teacher's signals and, for comparison, without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compressor.errors import CompressorError
from compressor.pipeline.context import Context
from compressor.pipeline.keys import file_identity
from compressor.pipeline.stage import Outcome, Stage
from compressor.pipeline.student import weight_files
from compressor.pipeline.training import job_for, publish, training_facts
from compressor.recipe.losses import StaticBalance, TaskLoss
from compressor.runtime.schema import Role


def about(context: Context) -> str:
    section = context.recipe.distill
    names = ", ".join(loss.kind for loss in section.losses)
    length = f"{section.steps} steps" if section.steps else f"{section.epochs} epochs"
    control = "; then the same student without a teacher" if section.control else ""
    return f"{length} of {names}, balanced by {section.balancer.kind}{control}"


def inputs(context: Context) -> dict[str, Any]:
    recipe = context.recipe
    return {
        "student": recipe.student.model_dump(mode="json"),
        "distill": recipe.distill.model_dump(mode="json", exclude={"trackers", "workers"}),
        "seed": recipe.seed,
        "weights": [file_identity(file) for file in weight_files(recipe.student)],
    }


def roles(context: Context) -> list[Role]:
    """Models this recipe trains."""
    return ["student", "control"] if context.recipe.distill.control else ["student"]


def run(context: Context, key: str) -> Outcome:
    facts: dict[str, Any] = {
        role: _train(context, role, context.folder.training_of(key) / role) for role in roles(context)
    }
    outputs = [context.folder.checkpoint]
    if "control" in facts:
        outputs.append(context.folder.root / "control" / "checkpoint")
    speed = facts["student"]["images_per_second"]
    best = facts["student"]["best_rsum"]
    chosen = (
        f", validation RSUM {best:.1f} at step {facts['student']['best_step']}" if best is not None else ""
    )
    return Outcome(outputs, f"{speed:.0f} images/s{chosen}", {**facts, "training": key[:12]})


def _train(context: Context, role: Role, folder: Path) -> dict[str, Any]:
    """Train one role, or continue where a killed run left it, and publish its best checkpoint."""
    import torch

    from compressor.distill.trainer import train

    recipe, section = context.recipe, context.recipe.distill
    taught = role == "student" and recipe.teacher is not None
    torch.manual_seed(recipe.seed)
    model = context.fresh_student()
    losses = section.losses if role == "student" else (TaskLoss(kind="task"),)
    balancer = section.balancer if role == "student" else StaticBalance()
    signals = context.signals() if taught else None
    rows = context.training_set(live=taught and section.signals == "live")
    label = "distilling" if taught else "training without a teacher"
    result = train(job_for(context, model, rows, signals, losses, balancer, section, folder, label))
    if not (result.best / "model.safetensors").is_file():
        raise CompressorError(f"training ended without a checkpoint in {result.best}")
    target = context.folder.checkpoint if role == "student" else context.folder.root / role / "checkpoint"
    publish(result.best, target)
    return training_facts(result) | {"curve": str(result.curves.relative_to(context.folder.root))}


STAGE = Stage("distill", ("teacher", "cache"), about, inputs, run)
