"""Stage `teacher`: the teacher is there, loads, fits the data, and is fine-tuned where the recipe says so."""

from __future__ import annotations

from typing import Any

from compressor.files import write_json
from compressor.pipeline import team
from compressor.pipeline.context import Context
from compressor.pipeline.keys import file_identity
from compressor.pipeline.stage import Outcome, Stage
from compressor.pipeline.student import blank_student
from compressor.recipe.teacher import EnsembleTeacher, single_teachers
from compressor.recipe.teacher_base import TrainableTeacher


def about(context: Context) -> str:
    teacher = context.recipe.teacher
    return "no teacher: the task loss alone" if teacher is None else f"{teacher.kind} {context.teacher_label}"


def inputs(context: Context) -> dict[str, Any]:
    teacher = context.recipe.teacher
    if teacher is None:
        return {"teacher": None}
    members = single_teachers(teacher)
    needs_data = any(not each.runnable or getattr(each, "fine_tune", None) is not None for each in members)
    return {
        "teacher": teacher.model_dump(mode="json"),
        "weights": [file_identity(getattr(each, "path", None)) for each in members],
        "data": context.pairs("train").fingerprint if needs_data else None,
        "seed": context.recipe.seed,
        "rehearsal": context.rehearsal,
    }


def run(context: Context, key: str) -> Outcome:
    teacher = context.recipe.teacher
    blank_student(context.recipe.student, teacher)  # a wrong name or size shows before the teacher works
    context.folder.teacher.mkdir(parents=True, exist_ok=True)
    outputs = [context.folder.teacher / "teacher.json"]
    facts: dict[str, Any] = {"kind": "none" if teacher is None else teacher.kind}
    if isinstance(teacher, TrainableTeacher) and teacher.fine_tune is not None:
        from compressor.pipeline.fine_tuning import fine_tune

        facts["fine_tuning"] = fine_tune(context, teacher.fine_tune, key)
        outputs.append(context.folder.tuned_teacher)
    if isinstance(teacher, EnsembleTeacher):
        members = [each.facts() for each in context.teachers]
        facts["embed_dim"] = sum(each["embed_dim"] for each in members)
        facts["origin"] = f"an ensemble of {', '.join(each.get('origin', each['kind']) for each in members)}"
        facts["members"] = members
    elif teacher is not None:
        facts |= context.teachers[0].facts()
    if team.leads():
        write_json(outputs[0], facts)
    return Outcome(outputs, facts.get("origin", "") or f"{facts.get('embed_dim', 'no')} dimensions", facts)


STAGE = Stage("teacher", (), about, inputs, run)
