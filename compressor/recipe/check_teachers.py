"""What a valid recipe still cannot mean about its teachers: several of them, or of one modality."""

from __future__ import annotations

from collections.abc import Iterator

from compressor.recipe.check_timm import timm_option_findings
from compressor.recipe.losses import AffinityLoss
from compressor.recipe.overrides import KeyPath
from compressor.recipe.recipe import Recipe
from compressor.recipe.teacher import EmbeddingsTeacher, EnsembleTeacher, TimmTeacher, single_teachers
from compressor.recipe.teacher_base import SingleTeacher, TrainableTeacher
from compressor.recipe.training import Augmentation

Finding = tuple[KeyPath, str]


def teacher_findings(recipe: Recipe) -> Iterator[Finding]:
    """(key path, sentence) for everything that does not fit."""
    distill, members = recipe.distill, _members(recipe)
    if members and distill.signals == "live" and not any(section.runnable for _, section in members):
        yield ("distill", "signals"), "is live, but a teacher of embeddings cannot be run; allowed: stored"
    for path, section in members:
        if isinstance(section, EmbeddingsTeacher):
            yield from _augmented(distill.augmentation, section, path)
        if isinstance(section, TimmTeacher):
            yield from timm_option_findings((*path, "options"), section.options, "path")
        tuned = isinstance(section, TrainableTeacher) and section.fine_tune is not None
        if tuned and isinstance(recipe.teacher, EnsembleTeacher):
            yield (
                (*path, "fine_tune"),
                "members of an ensemble teach as they are; fine-tune the model in a recipe of its own and "
                "name its checkpoint here",
            )
    for index, loss in enumerate(distill.losses):
        together = isinstance(loss, AffinityLoss) and loss.ensemble == "distributions"
        if together and not isinstance(recipe.teacher, EnsembleTeacher):
            yield (
                ("distill", "losses", index, "ensemble"),
                "is distributions, but there is one teacher, not an ensemble; allowed: embeddings",
            )


def no_such_figure(recipe: Recipe, parts: list[str]) -> str | None:
    """Why the teacher of this recipe leaves results.json without a figure that others have."""
    teacher, section = recipe.teacher, parts[0]
    compared = "teacher" in parts or any("ratio" in part for part in parts)
    if teacher is None:
        return "the recipe has no teacher" if section == "retention" or compared else None
    against_control = section == "retention" and parts[1].startswith("student_minus_control")
    if not teacher.embeds_pairs and ((section == "retention" and not against_control) or compared):
        return f"a teacher of kind {teacher.kind} knows one modality and ranks no pairs"
    if not teacher.has_bundle and section in ("latency", "size") and compared:
        alone = "the teacher is only embeddings"
        return "an ensemble is never exported" if isinstance(teacher, EnsembleTeacher) else alone
    return None


def _members(recipe: Recipe) -> list[tuple[KeyPath, SingleTeacher]]:
    """Every single teacher with its key path."""
    found = single_teachers(recipe.teacher)
    if isinstance(recipe.teacher, EnsembleTeacher):
        return [(("teacher", "members", number), section) for number, section in enumerate(found)]
    return [(("teacher",), section) for section in found]


def _augmented(augmentation: Augmentation, teacher: EmbeddingsTeacher, path: KeyPath) -> Iterator[Finding]:
    named = ".".join(map(str, path))
    for key, needed in _changes(augmentation):
        if needed not in teacher.invariances:
            yield (
                ("distill", "augmentation", key),
                "changes the pictures, but the stored embeddings are of unchanged ones; leave it out, or "
                f"name {needed} in {named}.invariances if the teacher hardly sees it",
            )


def _changes(augmentation: Augmentation) -> Iterator[tuple[str, str]]:
    """(key of the augmentation, invariance it needs) for each that is on."""
    if augmentation.crop_scale is not None:
        yield "crop_scale", "crop"
    if augmentation.horizontal_flip > 0:
        yield "horizontal_flip", "horizontal_flip"
    if augmentation.colour > 0:
        yield "colour", "colour"
