"""What a valid recipe still cannot mean about models that write, and about questions."""

from __future__ import annotations

from collections.abc import Iterator

from compressor.recipe.blip import BlipImageTower, BlipStudent, BlipTeacher, BlipTextTower, Head
from compressor.recipe.data import ScenesQuestionsData, VqaData
from compressor.recipe.losses import GradNormBalance
from compressor.recipe.overrides import KeyPath
from compressor.recipe.recipe import Recipe

Finding = tuple[KeyPath, str]
CAPTION_FIGURES = frozenset({"bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor", "rouge_l", "cider", "spice"})
ANSWER_FIGURES = frozenset({"vqa_accuracy", "vqa_accuracy_interval", "by_answer_type", "by_question_type"})
_WRITTEN = {"caption": CAPTION_FIGURES, "vqa": ANSWER_FIGURES}
_COMMON = frozenset({"intervals", "control", "lead_over_control", "lead_over_control_intervals"})
_WRITTEN_ARTIFACT = frozenset({"graphs", "equal_greedy", "equal_beams", "texts", "loss_delta", "p50_ms"})
_COUNTS = frozenset({"images", "captions", "questions", "unavailable", "source"})


def generation_findings(recipe: Recipe) -> Iterator[Finding]:
    """(key path, sentence) for everything that does not fit."""
    teacher, student = recipe.teacher, recipe.student
    writes = isinstance(teacher, BlipTeacher)
    if isinstance(student, BlipStudent) and not writes:
        given = "null" if teacher is None else f"of kind {teacher.kind}"
        yield (
            ("student", "kind"),
            f"is blip, but teacher is {given}; allowed: a teacher of kind blip, whose tokens a BLIP student "
            "reads",
        )
    if writes and not isinstance(student, BlipStudent):
        yield ("student", "kind"), f"is {student.kind}, but the teacher writes text; allowed: blip"
    if isinstance(teacher, BlipTeacher) and isinstance(student, BlipStudent):
        yield from _sizes(teacher, student)
        yield from _locked(teacher)
        yield from _training(recipe)
        yield from _inherited(teacher, student)
        yield from _writing(recipe, teacher, student)
    if not writes:
        yield from _without_writing(recipe)
    yield from _data(recipe)


def _data(recipe: Recipe) -> Iterator[Finding]:
    questions = isinstance(recipe.data, ScenesQuestionsData | VqaData)
    if questions and recipe.head != "vqa":
        yield (
            ("data", "kind"),
            f"is {recipe.data.kind}, whose questions only a teacher of kind blip with head: vqa answers",
        )
    if recipe.head == "vqa" and not questions:
        yield (
            ("data", "kind"),
            f"is {recipe.data.kind}, which has captions and no questions; allowed: scenes_questions, vqa",
        )


def _sizes(teacher: BlipTeacher, student: BlipStudent) -> Iterator[Finding]:
    towers: list[tuple[str, BlipImageTower, BlipTextTower]] = [("student", student.image, student.text)]
    if teacher.image is not None and teacher.text is not None:
        towers.append(("teacher", teacher.image, teacher.text))
    for owner, image, text in towers:
        if teacher.head == "vqa" and image.width != text.width:
            yield (
                (owner, "text", "width"),
                f"is {text.width}, but for VQA the BERT must be as wide as the ViT; allowed: {image.width}",
            )
        if teacher.context_length > text.context_length:
            yield (
                (owner, "text", "context_length"),
                f"is {text.context_length}; allowed: at least teacher.context_length "
                f"({teacher.context_length})",
            )


def _inherited(teacher: BlipTeacher, student: BlipStudent) -> Iterator[Finding]:
    """What a student that is cut out of a teacher of known sizes asks for beyond these."""
    if student.start != "inherit" or teacher.image is None or teacher.text is None:
        return
    for side, own, whole in (("image", student.image, teacher.image), ("text", student.text, teacher.text)):
        sizes = (
            ("layers", "layers", own.layers, whole.layers),
            ("width", "width", own.width, whole.width),
            ("heads", "heads", own.heads, whole.heads),
            ("heads", "width / heads", own.width // own.heads, whole.width // whole.heads),
            (
                "mlp_ratio",
                "width x mlp_ratio",
                round(own.width * own.mlp_ratio),
                round(whole.width * whole.mlp_ratio),
            ),
        )
        for key, what, asked, owned in sizes:
            if asked > owned:
                yield (
                    ("student", side, key),
                    f"makes {what} {asked}, but start: inherit takes a part of the teacher, which has "
                    f"{owned}",
                )
    if student.image.patch != teacher.image.patch:
        yield (
            ("student", "image", "patch"),
            f"is {student.image.patch}; allowed with start: inherit: the teacher's ({teacher.image.patch})",
        )
    if student.text.context_length > teacher.text.context_length:
        yield (
            ("student", "text", "context_length"),
            f"is {student.text.context_length}; allowed with start: inherit: at most the teacher's "
            f"({teacher.text.context_length})",
        )


def _locked(teacher: BlipTeacher) -> Iterator[Finding]:
    if teacher.fine_tune is None or not teacher.fine_tune.lock_image or teacher.image is None:
        return
    if teacher.image.weights is None:
        yield (
            ("teacher", "fine_tune", "lock_image"),
            "is true, but teacher.image starts from random weights, which would stay; allowed: false, or "
            "image.weights",
        )


def _training(recipe: Recipe) -> Iterator[Finding]:
    distill = recipe.distill
    if distill.signals != "live":
        yield (
            ("distill", "signals"),
            "is stored, but logits and attention maps are too large to be kept: a teacher that writes is run "
            "every step; allowed: live",
        )
    if isinstance(distill.balancer, GradNormBalance):
        yield (
            ("distill", "balancer"),
            "is gradnorm, which compares gradients at embeddings, and a student that writes has none; "
            "allowed: static, dsmd, dsmd_rates, uncertainty, dwa",
        )


def _writing(recipe: Recipe, teacher: BlipTeacher, student: BlipStudent) -> Iterator[Finding]:
    where, writing = ("evaluate", "generation", "max_length"), recipe.writing
    positions = [student.text.context_length, *([teacher.text.context_length] if teacher.text else [])]
    if writing.max_length > min(positions):
        yield (
            where,
            f"is {writing.max_length}, but a model has {min(positions)} positions (text.context_length)",
        )
    prompted = 1 + len(teacher.prompt.split())
    if writing.max_length <= prompted:
        yield where, f"is {writing.max_length}, which the start token and the prompt fill; allowed: more"
    if writing.min_length >= writing.max_length:
        yield (
            ("evaluate", "generation", "min_length"),
            f"is {writing.min_length}; allowed: less than max_length ({writing.max_length})",
        )


def _without_writing(recipe: Recipe) -> Iterator[Finding]:
    """Options of models that write, where none does."""
    if recipe.evaluate.generation is not None:
        yield (
            ("evaluate", "generation"),
            "says how text is written, but this student embeds; it belongs to a teacher of kind blip",
        )
    sections = (
        (("distill",), recipe.distill),
        (("teacher", "fine_tune"), getattr(recipe.teacher, "fine_tune", None)),
    )
    for path, section in sections:
        if section is not None and section.texts_per_image > 1:
            yield (
                (*path, "texts_per_image"),
                f"is {section.texts_per_image}, but a model that embeds sees pairs; allowed: 1",
            )


def no_written_figure(head: Head, parts: list[str]) -> str | None:
    """Why a recipe whose student writes can never have a figure that other recipes have."""
    writes = "answers" if head == "vqa" else "captions"
    section, known = parts[0], _WRITTEN[head] | _COMMON | _COUNTS
    if section == "artifacts" and parts[2:3] and parts[2] in ("image", "text", "recall_delta"):
        return (
            f"a student that writes has no {parts[2]} artifact figure; there are graphs, loss_delta, p50_ms"
        )
    if section == "latency" and parts[1] in ("image", "text", "pair"):
        return f"a student that writes {writes} is timed whole: latency.generation"
    figures = parts[2:] if section == "quality" else parts[1:] if section == "retention" else []
    wrong = next((part for part in figures[:1] if part not in known), None)
    return None if wrong is None else f"the student writes {writes}, which have no {wrong}"


def no_figure_of_writing(parts: list[str]) -> str | None:
    """Why a recipe whose student embeds can never have a figure of captions or answers."""
    figures = CAPTION_FIGURES | ANSWER_FIGURES | _COMMON
    named = parts[2:3] if parts[0] == "quality" else parts[1:2]
    if parts[0] in ("quality", "retention") and named and named[0] in figures:
        return "the student embeds and writes no text"
    if parts[:2] == ["latency", "generation"]:
        return "the student embeds and writes no text"
    if parts[0] == "artifacts" and parts[2:3] and parts[2] in _WRITTEN_ARTIFACT:
        return "the student embeds and writes no text"
    return None
