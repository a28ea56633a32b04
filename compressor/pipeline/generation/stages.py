"""The chain of a recipe whose student writes: the names and the order of the other chain."""

from __future__ import annotations

from typing import Any

from compressor.files import write_json
from compressor.pipeline import cache_stage, distill_stage, teacher_stage, team
from compressor.pipeline.context import Context
from compressor.pipeline.generation import benchmark, evaluate, export, report
from compressor.pipeline.keys import file_identity
from compressor.pipeline.stage import Outcome, Stage


def about_teacher(context: Context) -> str:
    return f"blip {context.writers.label}"


def teacher_inputs(context: Context) -> dict[str, Any]:
    files = [file_identity(path) for path in context.writers.weights]
    return teacher_stage.inputs(context) | {"files": files}


def run_teacher(context: Context, key: str) -> Outcome:
    from compressor.pipeline.generation.training import fine_tune
    from compressor.students.blip import BlipGenerator
    from compressor.students.blip_build import blip_student_sizes

    folder, writers, section = context.folder, context.writers, context.writers.section
    generator = writers.untuned_teacher.generator
    assert isinstance(generator, BlipGenerator)
    # A student of a wrong size shows before the teacher works.
    blip_student_sizes(writers.student_section, section.head, generator.vocabulary, generator.config)
    folder.teacher.mkdir(parents=True, exist_ok=True)
    outputs = [folder.teacher / "teacher.json"]
    facts: dict[str, Any] = {"kind": section.kind, "head": section.head}
    if section.fine_tune is not None:
        facts["fine_tuning"] = fine_tune(context, section.fine_tune, key)
        outputs.append(folder.tuned_teacher)
    model = writers.teacher
    facts |= {"fingerprint": model.fingerprint, "origin": model.origin}
    if team.leads():
        write_json(outputs[0], facts)
    return Outcome(outputs, model.origin, facts)


def run_distill(context: Context, key: str) -> Outcome:
    from compressor.pipeline.generation.training import train_role

    folder = context.folder.training_of(key)
    facts: dict[str, Any] = {
        role: train_role(context, role, folder / role) for role in distill_stage.roles(context)
    }
    outputs = [context.writers.checkpoint(role) for role in distill_stage.roles(context)]
    found = facts["student"]
    chosen = f", validation loss {found['best_loss']:.3f} at step {found['best_step']}"
    summary = f"{found['images_per_second']:.0f} images/s{chosen}"
    return Outcome(outputs, summary, {**facts, "training": key[:12]})


GENERATION_STAGES: tuple[Stage, ...] = (
    Stage("teacher", (), about_teacher, teacher_inputs, run_teacher),
    cache_stage.STAGE,
    Stage("distill", ("teacher", "cache"), distill_stage.about, distill_stage.inputs, run_distill),
    export.STAGE,
    evaluate.STAGE,
    benchmark.STAGE,
    report.STAGE,
)
