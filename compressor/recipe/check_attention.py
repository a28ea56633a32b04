"""What a valid recipe still cannot mean about attention maps: variants, layers, heads."""

from __future__ import annotations

from collections.abc import Iterator

from compressor.recipe.blip import BlipStudent, BlipTeacher
from compressor.recipe.losses import AMADLoss
from compressor.recipe.models import InheritedStudent, StudentSection, TimmImageTower
from compressor.recipe.overrides import KeyPath
from compressor.recipe.recipe import Recipe

Finding = tuple[KeyPath, str]
_TOWER_OF = {"image": "image", "text": "text", "cross": "text", "question": "text"}
"""The section with the sizes of the layers that a key of `amad` names."""
_NEVER_PROJECTED = "is projected, whose learned map has one size, and texts have many; allowed"


def attention_findings(recipe: Recipe) -> Iterator[Finding]:
    """(key path, sentence) for everything that does not fit."""
    for index, loss in enumerate(recipe.distill.losses):
        if isinstance(loss, AMADLoss):
            path: KeyPath = ("distill", "losses", index)
            if recipe.head is None:
                yield from _between_towers(recipe, loss, path)
            else:
                yield from _between_blips(recipe, loss, path)
            if loss.alpha == "match_initial_scale" and len(recipe.distill.losses) == 1:
                yield (
                    (*path, "alpha"),
                    "is match_initial_scale, and there is no other loss to match; give a number",
                )
            yield from _layers(recipe, loss, path)


def _between_towers(recipe: Recipe, loss: AMADLoss, path: KeyPath) -> Iterator[Finding]:
    if recipe.distill.signals != "live":
        yield (
            ("distill", "signals"),
            "is stored, but attention maps are too large to be kept and are made every step; allowed with "
            "amad: live",
        )
    for key in ("cross", "question"):
        if key in loss.model_fields_set and getattr(loss, key) is not None:
            yield (*path, key), "names layers of a BLIP that writes; allowed with two towers: image, text"
    if loss.image is None and loss.text is None:
        yield path, "image and text are both null, which leaves no attention map to compare"
    elif loss.variant == "projected" and loss.text is not None:
        yield (*path, "variant"), f"{_NEVER_PROJECTED} with text: null"


def _between_blips(recipe: Recipe, loss: AMADLoss, path: KeyPath) -> Iterator[Finding]:
    if loss.variant == "projected":
        others = "mse, kl, token, student_to_teacher, one_to_one, rkd"
        yield (*path, "variant"), f"{_NEVER_PROJECTED}: {others}"
    if recipe.head == "caption":
        if "question" in loss.model_fields_set and loss.question is not None:
            yield (*path, "question"), "names layers of a question encoder, which head: caption does not have"
        elif loss.image is None and loss.text is None and loss.cross is None:
            yield path, "image, text and cross are all null, which leaves no attention map to compare"
    if loss.variant == "one_to_one":
        yield from _heads(recipe, loss, path)


def _heads(recipe: Recipe, loss: AMADLoss, path: KeyPath) -> Iterator[Finding]:
    """`one_to_one` needs a teacher's head for each of the student's."""
    teacher, student = recipe.teacher, recipe.student
    assert isinstance(student, BlipStudent)
    assert isinstance(teacher, BlipTeacher)
    named = {_TOWER_OF[key] for key in _compared(recipe, loss)}
    for tower, own, other in (("image", student.image, teacher.image), ("text", student.text, teacher.text)):
        if tower in named and other is not None and own.heads > other.heads:
            yield (
                (*path, "variant"),
                f"is one_to_one, which needs a teacher's head for each of the student's, but student.{tower} "
                f"has {own.heads} and teacher.{tower} {other.heads}",
            )


def _layers(recipe: Recipe, loss: AMADLoss, path: KeyPath) -> Iterator[Finding]:
    """Layers that a model whose sizes the recipe gives does not have."""
    for key in _compared(recipe, loss):
        pairs, tower = getattr(loss, key), _TOWER_OF[key]
        if isinstance(pairs, dict):
            for owner, wanted in (("teacher", max(pairs)), ("student", max(pairs.values()))):
                count = _depth(recipe, owner, tower)
                if count is not None and wanted > count:
                    yield (
                        (*path, key),
                        f"names layer {wanted} of the {owner}, whose {tower} tower has {count}; layers are "
                        "written teacher: student and counted from 1",
                    )


def _compared(recipe: Recipe, loss: AMADLoss) -> list[str]:
    """The keys of `amad` that this recipe's models look at."""
    keys = {None: ("image", "text"), "caption": ("image", "text", "cross"), "vqa": tuple(_TOWER_OF)}[
        recipe.head
    ]
    return [key for key in keys if getattr(loss, key) is not None]


def _depth(recipe: Recipe, owner: str, tower: str) -> int | None:
    """Layers of a tower, None where the recipe does not tell."""
    model = recipe.student if owner == "student" else recipe.teacher
    if not isinstance(model, BlipStudent | BlipTeacher | InheritedStudent | StudentSection):
        return None
    section = getattr(model, tower)
    timm = isinstance(section, TimmImageTower)
    layers = section.options.get("depth") if timm else getattr(section, "layers", None)
    return layers if type(layers) is int else None
