"""The teacher of an ablation: fine-tuned once where the recipe says so, then the same for all trainings."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.pipeline.generation.models import Writers
from compressor.recipe import Recipe
from compressor.recipe.blip import BlipTeacher
from compressor.recipe.teacher import CheckpointTeacher
from compressor.recipe.teacher_base import TrainableTeacher

if TYPE_CHECKING:
    from compressor.students.generator import GenerativeModel


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


class TunedWriters(Writers):
    """Teacher and student where the teacher was fine-tuned by another run of this project.

    Its checkpoint is read as it was written. The way by which a BLIP from elsewhere is read, in transformers'
    format, gives the same weights with another preprocessing.
    """

    @cached_property
    def untuned_teacher(self) -> GenerativeModel:
        """The teacher as it is found: it is not tuned again."""
        from compressor.students.blip_checkpoint import load_blip_checkpoint
        from compressor.teachers.blip_teacher import freeze_generator

        assert self.section.path is not None
        return freeze_generator(load_blip_checkpoint(self.section.path))
