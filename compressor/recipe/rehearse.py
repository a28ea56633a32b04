"""The small twin of a recipe: every stage and the real architectures, on a handful of drawn scenes."""

from __future__ import annotations

from typing import Any

from compressor.errors import RecipeError
from compressor.recipe.data import ScenesData, ScenesQuestionsData
from compressor.recipe.models import InheritedStudent
from compressor.recipe.outcome import ExportSection
from compressor.recipe.recipe import Recipe
from compressor.recipe.teacher import EnsembleTeacher, single_teachers
from compressor.recipe.teacher_base import SingleTeacher, TrainableTeacher
from compressor.recipe.training import TrainingBase

STEPS = 2
BATCH_SIZE = 4
REHEARSED_SIDE = 224
"""Pixels of drawn scenes for a student whose input is its teacher's, which is not known yet."""
SUFFIX = "-rehearsal"


def refusal_to_rehearse(recipe: Recipe) -> str | None:
    """Why a recipe cannot be rehearsed, in one sentence, or None where it can."""
    if not all(section.runnable for section in single_teachers(recipe.teacher)):
        which = "a member of its teacher" if isinstance(recipe.teacher, EnsembleTeacher) else "its teacher"
        return (
            f"{recipe.name}: cannot be rehearsed, because {which} is embeddings of the real data and has "
            "none of the drawn scenes a rehearsal runs on; run it shortened, with distill.epochs=null "
            "distill.steps=2 data.limit.train=64"
        )
    return None


def rehearsal(recipe: Recipe) -> Recipe:
    """The recipe with the same architectures, losses, control, export and goals, but almost nothing to do.

    Data are a few scenes at the student's image size; two steps of four pairs; one evaluation; the shortest
    benchmark. The name ends in `-rehearsal`, so that it has a run folder of its own. Raises `RecipeError`
    where `refusal_to_rehearse` has a reason.
    """
    reason = refusal_to_rehearse(recipe)
    if reason is not None:
        raise RecipeError(reason)
    small = recipe.model_copy(
        update={
            "name": recipe.name[: 100 - len(SUFFIX)] + SUFFIX,
            "data": _data(recipe),
            "teacher": _teacher(recipe),
            "distill": _shortened(recipe.distill, STEPS),
            "export": _export(recipe.export),
            "evaluate": _with(
                recipe.evaluate,
                split="test",
                bootstrap=min(recipe.evaluate.bootstrap, 50),
                batch_size=min(recipe.evaluate.batch_size, BATCH_SIZE),
                examples=min(recipe.evaluate.examples, 4),
            ),
            "benchmark": _with(recipe.benchmark, warmup=3, rounds=5, repeats=3, batch_sizes=(1,)),
        }
    )
    return Recipe.model_validate(small.model_dump())


def _export(section: ExportSection) -> ExportSection:
    """Engines and OpenVINO where they can be had: rehearsals are often held on other machines than runs."""
    engines, openvino = section.tensorrt, section.openvino
    small: ExportSection = _with(
        section,
        parity=_with(section.parity, samples=8),
        calibration=_with(section.calibration, samples=8),
        tensorrt=None if engines is None else _with(engines, optional=True),
        openvino=None if openvino is None else _with(openvino, optional=True),
    )
    return small


def _data(recipe: Recipe) -> ScenesData | ScenesQuestionsData:
    student = recipe.student
    side = REHEARSED_SIDE if isinstance(student, InheritedStudent) else student.image.input.size
    side = min(max(side, 32), 512)
    few: dict[str, Any] = {"seed": recipe.seed, "image_size": side, "train": 16, "val": 8, "test": 12}
    if recipe.head == "vqa":
        return ScenesQuestionsData(kind="scenes_questions", per_scene=2, **few)
    return ScenesData(kind="scenes", **few)


def _teacher(recipe: Recipe) -> Any:
    teacher = recipe.teacher
    if teacher is None:
        return None
    if isinstance(teacher, EnsembleTeacher):
        return _with(teacher, members=tuple(_smaller(member) for member in teacher.members))
    teacher = _smaller(teacher)
    if isinstance(teacher, TrainableTeacher) and teacher.fine_tune is not None:
        return _with(teacher, fine_tune=_shortened(teacher.fine_tune, 1))
    return teacher


def _smaller(teacher: SingleTeacher) -> Any:
    return _with(teacher, batch_size=min(teacher.batch_size, BATCH_SIZE))


def _shortened(training: TrainingBase, steps: int) -> Any:
    """The same training for a few steps on the CPU; only a tracker that writes files is kept."""
    return _with(
        training,
        epochs=None,
        steps=steps,
        batch_size=BATCH_SIZE,
        micro_batch_size=None,
        warmup=0.0,
        precision="no",
        evaluate_every=steps,
        checkpoint_every=steps,
        trackers=tuple(name for name in training.trackers if name == "tensorboard"),
    )


def _with(section: Any, **changes: Any) -> Any:
    return section.model_copy(update=changes)
