"""The whole recipe."""

from __future__ import annotations

from pydantic import Field

from compressor.recipe.base import Section
from compressor.recipe.data import DataSection
from compressor.recipe.models import StudentSection
from compressor.recipe.outcome import BenchmarkSection, EvaluateSection, ExportSection, Goal
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
    student: StudentSection
    distill: DistillSection
    export: ExportSection = ExportSection()
    evaluate: EvaluateSection = EvaluateSection()
    benchmark: BenchmarkSection = BenchmarkSection()
    goals: tuple[Goal, ...] = ()
