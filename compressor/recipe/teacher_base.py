"""What the sections of all teachers have in common."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from compressor.recipe.base import Section
from compressor.recipe.training import FineTune

Signal = Literal["embeddings", "attention", "logits", "global"]


class TeacherBase(Section):
    """What all teachers have in common."""

    provides: ClassVar[frozenset[Signal]] = frozenset({"embeddings", "attention"})
    embeds_pairs: ClassVar[bool] = True
    """False for a teacher of one modality, which ranks nothing: no quality of its own, no retention."""
    has_bundle: ClassVar[bool] = True
    """False for a teacher that is never exported: no latency, no size."""


class SingleTeacher(TeacherBase):
    """One model, or what it left behind."""

    runnable: ClassVar[bool] = True

    batch_size: int = Field(64, ge=1, description="Images or captions per forward pass of the teacher.")


class TrainableTeacher(SingleTeacher):
    """A teacher that can first be fine-tuned with the task loss on the recipe's own data."""

    fine_tune: FineTune | None = None
