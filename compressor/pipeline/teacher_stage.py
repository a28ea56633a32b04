"""Stage `teacher`: the teacher is there, loads, fits the data, and is fine-tuned where the recipe says so."""

from __future__ import annotations

from typing import Any

from compressor.files import write_json
from compressor.pipeline import team
from compressor.pipeline.context import Context
from compressor.pipeline.keys import file_identity
from compressor.pipeline.stage import Outcome, Stage
from compressor.pipeline.student import blank_student
from compressor.recipe.teacher import EmbeddingsTeacher


def about(context: Context) -> str:
    teacher = context.recipe.teacher
    return "no teacher: the task loss alone" if teacher is None else f"{teacher.kind} {context.teacher_label}"


def inputs(context: Context) -> dict[str, Any]:
    teacher = context.recipe.teacher
    if teacher is None:
        return {"teacher": None}
    needs_data = isinstance(teacher, EmbeddingsTeacher) or getattr(teacher, "fine_tune", None) is not None
    return {
        "teacher": teacher.model_dump(mode="json"),
        "weights": file_identity(getattr(teacher, "path", None)),
        "data": context.pairs("train").fingerprint if needs_data else None,
        "seed": context.recipe.seed,
        "rehearsal": context.rehearsal,
    }


def run(context: Context, key: str) -> Outcome:
    teacher = context.recipe.teacher
    blank_student(context.recipe.student, teacher)  # a wrong name or size shows before the teacher works
    context.folder.teacher.mkdir(parents=True, exist_ok=True)
    outputs = [context.folder.teacher / "teacher.json"]
    facts: dict[str, Any] = {}
    if teacher is None:
        facts = {"kind": "none"}
    elif isinstance(teacher, EmbeddingsTeacher):
        stored = context.stored_embeddings
        facts = {"kind": teacher.kind, "fingerprint": stored.fingerprint, "embed_dim": stored.dim}
    else:
        if teacher.fine_tune is not None:
            from compressor.pipeline.fine_tuning import fine_tune

            facts["fine_tuning"] = fine_tune(context, teacher.fine_tune, key)
            outputs.append(context.folder.tuned_teacher)
        model = context.teacher_model
        facts |= {
            "kind": teacher.kind,
            "fingerprint": model.fingerprint,
            "embed_dim": model.encoder.embed_dim,
            "origin": model.origin,
        }
    if team.leads():
        write_json(outputs[0], facts)
    return Outcome(outputs, facts.get("origin", "") or f"{facts.get('embed_dim', 'no')} dimensions", facts)


STAGE = Stage("teacher", (), about, inputs, run)
