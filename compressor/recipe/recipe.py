"""The whole recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from compressor.recipe.base import Section
from compressor.recipe.blip import BlipTeacher, Head
from compressor.recipe.data import DataSection
from compressor.recipe.outcome import (
    BenchmarkSection,
    EvaluateSection,
    ExportSection,
    GenerationSection,
    Goal,
)
from compressor.recipe.student import Student
from compressor.recipe.teacher import TeacherSection
from compressor.recipe.training import DistillSection


class Recipe(Section):
    """One compression job. Sections are documented in their own modules; the README has the reference."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="Name of the run folder.")
    seed: int = Field(0, ge=0, lt=2**31)
    data: DataSection
    teacher: TeacherSection | None = Field(
        None, description="Null: train the student with the task loss alone."
    )
    student: Student
    distill: DistillSection
    export: ExportSection = ExportSection()
    evaluate: EvaluateSection = EvaluateSection()
    benchmark: BenchmarkSection = BenchmarkSection()
    goals: tuple[Goal, ...] = ()

    @property
    def head(self) -> Head | None:
        """What the student writes, captions or answers; None for one that embeds."""
        return self.teacher.head if isinstance(self.teacher, BlipTeacher) else None

    @property
    def writing(self) -> GenerationSection:
        """How captions and answers are written for measurement."""
        return self.evaluate.generation or GenerationSection()

    @model_validator(mode="before")
    @classmethod
    def _towers_need_no_kind(cls, data: Any) -> Any:
        return with_student_kind(data)


def with_student_kind(data: Any) -> Any:
    """Recipe data in which a student without a kind is one of `towers`."""
    student = data.get("student") if isinstance(data, Mapping) else None
    if not isinstance(student, Mapping) or "kind" in student:
        return data
    return {**data, "student": {"kind": "towers", **student}}
