"""The teacher of an ablation: fine-tuned once where the recipe says so, then the same for all trainings."""

from __future__ import annotations

from pathlib import Path

from compressor.recipe import Recipe
from compressor.recipe.blip import BlipTeacher
from compressor.recipe.teacher import CheckpointTeacher
from compressor.recipe.teacher_base import TrainableTeacher


def is_tuned(recipe: Recipe) -> bool:
    """True where the teacher learns from the recipe's data before it teaches."""
    return isinstance(recipe.teacher, TrainableTeacher) and recipe.teacher.fine_tune is not None


def taught_by(recipe: Recipe, checkpoint: Path) -> Recipe:
    """The recipe with its teacher as an earlier fine-tuning left it in `checkpoint`."""
    old = recipe.teacher
    assert isinstance(old, TrainableTeacher)
    if isinstance(old, BlipTeacher):
        known = {"path": checkpoint, "name": None, "image": None, "text": None, "tokenizer": None}
        return recipe.model_copy(update={"teacher": old.model_copy(update={"fine_tune": None, **known})})
    teacher = CheckpointTeacher(kind="checkpoint", path=checkpoint, batch_size=old.batch_size)
    return recipe.model_copy(update={"teacher": teacher})
