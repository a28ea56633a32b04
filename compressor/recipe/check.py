"""What a valid recipe still cannot mean: combinations refused before anything heavy is imported.

Each rule yields (key path, sentence); `check` adds file and line. What only data or weights can tell (missing
files, BatchNorm under several processes, rows without captions) is refused where those are opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from compressor.errors import RecipeError
from compressor.recipe.blip import BlipStudent
from compressor.recipe.check_attention import attention_findings
from compressor.recipe.check_engines import engine_findings, no_such_engine
from compressor.recipe.check_export import export_findings, not_in_openvino
from compressor.recipe.check_generation import generation_findings, no_figure_of_writing, no_written_figure
from compressor.recipe.check_teachers import no_such_figure, teacher_findings
from compressor.recipe.check_timm import timm_option_findings
from compressor.recipe.data import (
    CocoCaptionsData,
    DataSection,
    FolderData,
    HuggingFaceData,
    Split,
    TableData,
    WebDatasetData,
)
from compressor.recipe.load import LoadedRecipe, load_recipe
from compressor.recipe.losses import ContrastiveLoss, MaskedFeatureLoss
from compressor.recipe.models import (
    InheritedStudent,
    PretrainedTextTower,
    StudentSection,
    TimmImageTower,
    TransformersImageTower,
    TransformerTextTower,
)
from compressor.recipe.outcome import GOAL
from compressor.recipe.overrides import KeyPath
from compressor.recipe.problems import message
from compressor.recipe.recipe import Recipe
from compressor.recipe.teacher import (
    CheckpointTeacher,
    OpenClipTeacher,
    TrainableTeacher,
    TransformersTeacher,
)
from compressor.recipe.training import TrainingBase
from compressor.report.goals import check_goals

Finding = tuple[KeyPath, str]


def load_checked(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a file or of a shipped name, as `load_recipe` reads it, once `check` has passed it.

    Raises `RecipeError`: one problem a line, with `file:line`.
    """
    loaded = load_recipe(path, overrides)
    check(loaded)
    return loaded.recipe


def check(loaded: LoadedRecipe) -> None:
    """Refuse a recipe that cannot work. Raises `RecipeError`: one problem a line, with `file:line`."""
    recipe = loaded.recipe
    rules = (
        *(_teaching, _losses, _augmented, _lengths, _splits, _inherited, _image, _text),
        export_findings,
        _goals,
        engine_findings,
        teacher_findings,
        attention_findings,
        generation_findings,
    )
    problems = [loaded.problem(path, text) for path, text in chain(*(rule(recipe) for rule in rules))]
    if problems:
        raise RecipeError(message(problems))


def _teaching(recipe: Recipe) -> Iterator[Finding]:
    """What the losses ask of the teacher, and what the teacher can give."""
    teacher, distill = recipe.teacher, recipe.distill
    if teacher is None and distill.control:
        yield (
            ("distill", "control"),
            "is true, but without a teacher the student is its own control; allowed: false",
        )
    provides = teacher.provides if teacher is not None else frozenset()
    for index, loss in enumerate(distill.losses):
        lacking = sorted(loss.requires - provides)
        if lacking and teacher is None:
            yield (
                ("distill", "losses", index),
                f"{loss.kind} learns from a teacher, and teacher is null; allowed: task",
            )
        elif lacking and teacher is not None:
            needs, given = " and ".join(lacking), ", ".join(sorted(provides))
            yield (
                ("distill", "losses", index),
                f"{loss.kind} needs the teacher's {needs}, which a teacher of kind {teacher.kind} does not "
                f"provide; allowed: losses on {given}",
            )


def _losses(recipe: Recipe) -> Iterator[Finding]:
    balancer = recipe.distill.balancer
    yield from _temperature(getattr(balancer, "temperature", None), ("distill", "balancer", "temperature"))
    for index, loss in enumerate(recipe.distill.losses):
        path: KeyPath = ("distill", "losses", index)
        for key in ("temperature", "teacher_temperature", "alignment_temperature"):
            yield from _temperature(getattr(loss, key, None), (*path, key))
        if isinstance(loss, MaskedFeatureLoss):
            yield from _masked(recipe, loss, path)
        if isinstance(loss, ContrastiveLoss) and loss.queue == 0 and not loss.batch_negatives:
            yield (
                (*path, "queue"),
                "is 0 and batch_negatives is false, which leaves no negatives; allowed: one of the two",
            )


def _temperature(value: float | None, path: KeyPath) -> Iterator[Finding]:
    """Beyond these bounds a softmax of float32 numbers overflows or forgets what it was given."""
    if value is not None and not 1e-6 <= value <= 1e6:
        yield path, f"is {value:g}; allowed: a number, at least 1e-06, at most 1e+06"


def _masked(recipe: Recipe, loss: MaskedFeatureLoss, path: KeyPath) -> Iterator[Finding]:
    """A picture with nothing masked teaches nothing new, one that is masked whole cannot be known."""
    if isinstance(recipe.student, StudentSection):
        size = recipe.student.image.input.size
        squares = (-(-size // loss.patch)) ** 2
        masked = round(loss.fraction * squares)
        if masked in (0, squares):
            yield (
                path,
                f"masks {masked} of the {squares} squares of {loss.patch} pixels in a picture of {size}; "
                "allowed: a patch and a fraction that mask some and leave some",
            )


def _augmented(recipe: Recipe) -> Iterator[Finding]:
    for path, training in _trainings(recipe):
        augmentation = training.augmentation
        crop = augmentation.crop_scale
        if crop is not None and not 0 < crop[0] <= crop[1] <= 1:
            text = f"is [{crop[0]:g}, {crop[1]:g}]; allowed: two area fractions, 0 < low <= high <= 1"
            yield (*path, "augmentation", "crop_scale"), text


def _lengths(recipe: Recipe) -> Iterator[Finding]:
    for path, training in _trainings(recipe):
        whole, part = training.batch_size, training.micro_batch_size
        if part is not None and whole % part:
            text = f"is {part}, which does not divide batch_size {whole}; allowed: a divisor of {whole}"
            yield (*path, "micro_batch_size"), text
        if not all(0 <= beta < 1 for beta in training.optimizer.betas):
            yield (*path, "optimizer", "betas"), "must be two numbers, each at least 0 and less than 1"


def _trainings(recipe: Recipe) -> Iterator[tuple[KeyPath, TrainingBase]]:
    yield ("distill",), recipe.distill
    if isinstance(recipe.teacher, TrainableTeacher) and recipe.teacher.fine_tune is not None:
        yield ("teacher", "fine_tune"), recipe.teacher.fine_tune


def _splits(recipe: Recipe) -> Iterator[Finding]:
    return splits_missing(recipe.data, ("train", "val", recipe.evaluate.split))


def splits_missing(data: DataSection, needed: Sequence[Split]) -> Iterator[Finding]:
    """What a data section says of its source and splits, where that cannot give the splits `needed`."""
    named: dict[str, dict[Split, str]] = {}
    if isinstance(data, CocoCaptionsData):
        named = {"annotations": data.annotations, "images": data.images}
    elif isinstance(data, WebDatasetData):
        named = {"shards": data.shards}
    elif isinstance(data, HuggingFaceData):
        named = {"splits": data.splits}
        if (data.name is None) == (data.path is None):
            yield ("data",), "give exactly one of name (a hub name) and path (a local folder)"
    for key, splits in named.items():
        missing = [split for split in dict.fromkeys(needed) if split not in splits]
        if missing:
            yield ("data", key), f"names no {' and no '.join(missing)} split, which is needed"
    if isinstance(data, TableData | FolderData):
        shares = data.split_fractions
        if any(share < 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-6:
            yield ("data", "split_fractions"), "must be fractions, none below 0, that add up to 1"
        empty = [split for split in dict.fromkeys(needed) if split not in shares or shares[split] == 0]
        if empty:
            yield (
                ("data", "split_fractions"),
                f"leaves {' and '.join(empty)} without rows, which is needed",
            )


def _inherited(recipe: Recipe) -> Iterator[Finding]:
    if isinstance(recipe.student, InheritedStudent) and not isinstance(
        recipe.teacher, OpenClipTeacher | TransformersTeacher | CheckpointTeacher
    ):
        given = "null" if recipe.teacher is None else f"of kind {recipe.teacher.kind}"
        yield (
            ("student", "kind"),
            f"is inherit, but teacher is {given}, which has no weights to give; allowed teachers: open_clip, "
            "transformers, checkpoint",
        )


def _image(recipe: Recipe) -> Iterator[Finding]:
    if isinstance(recipe.student, InheritedStudent):
        return
    tower = recipe.student.image
    path = ("student", "image")
    if any(deviation <= 0 for deviation in tower.input.std):
        yield (*path, "input", "std"), "must be three numbers, each more than 0"
    if isinstance(tower, TransformersImageTower):
        if bool(tower.config) == (tower.path is not None):
            yield path, "give exactly one of config (with model_type) and path (a local folder)"
        elif tower.config and not isinstance(tower.config.get("model_type"), str):
            yield (*path, "config"), "has no model_type; name the architecture, such as model_type: vit"
        if "auto_map" in tower.config:
            yield (
                (*path, "config", "auto_map"),
                "names code to run, and no code runs from a recipe; take it out",
            )
    if isinstance(tower, TimmImageTower):
        yield from timm_option_findings((*path, "options"), tower.options, "weights")


def _text(recipe: Recipe) -> Iterator[Finding]:
    if isinstance(recipe.student, InheritedStudent | BlipStudent):
        return
    tower, tokenizer = recipe.student.text, recipe.student.tokenizer
    if isinstance(tower, TransformerTextTower) and tower.causal and tower.pool == "first":
        yield (
            ("student", "text", "pool"),
            "is first, but in a causal tower the first token sees no other, so all texts would be equal; "
            "allowed: mean, last",
        )
    if isinstance(tower, PretrainedTextTower) and tokenizer.kind == "train" and (tower.path or tower.name):
        yield (
            ("student", "tokenizer", "kind"),
            "is train, but a pretrained text tower knows only the tokens of its own tokenizer; "
            "allowed: clip, file",
        )


def _goals(recipe: Recipe) -> Iterator[Finding]:
    for index, goal in enumerate(recipe.goals):
        path: KeyPath = ("goals", index)
        match = GOAL.match(goal)
        key = match["key"] if match else goal
        try:
            check_goals([goal])
        except RecipeError as error:
            yield path, str(error).removeprefix(f"goal '{goal}': ")
            continue
        reason = _unavailable(recipe, key.split("."))
        if reason:
            yield path, f"{key} is not available: {reason}; take the goal out"


def _unavailable(recipe: Recipe, parts: list[str]) -> str | None:
    """Why this recipe can never have a figure that other recipes have."""
    section, of_control = parts[0], any("control" in part for part in parts)
    if section == "artifacts" and parts[1] not in recipe.export.artifacts:
        named = no_such_engine(parts[1]) or not_in_openvino(parts[1])
        return named or f"export.precisions makes no {parts[1]} artifact"
    if section in ("quality", "retention") and of_control and not recipe.distill.control:
        return "distill.control is false"
    if recipe.head is not None:
        return no_written_figure(recipe.head, parts)
    return no_figure_of_writing(parts) or no_such_figure(recipe, parts)
