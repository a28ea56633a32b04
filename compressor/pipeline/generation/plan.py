"""What `compressor plan` knows of a recipe whose student writes, without any weights: sizes, steps, hours."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compressor.data.question_pairs import QuestionPairs
from compressor.pipeline.context import Context
from compressor.pipeline.speed import SAMPLE, measured_speed, training_device
from compressor.recipe.training import TrainingBase

if TYPE_CHECKING:
    from transformers import BlipConfig

    from compressor.students.blip_outline import WritingCost
    from compressor.students.generator import Vocabulary

FLOPS_OF_A_TRY = {"cpu": 5e10, "cuda": 5e12}
"""About what the forward pass that is timed may take: a second or so, and little memory."""


@dataclass(frozen=True)
class Writing:
    """The architectures of a recipe, and the tokens that one row of a batch is read and forced on."""

    student: BlipConfig
    teacher: BlipConfig
    vocabulary: Vocabulary
    target: int
    question: int


def written_sizes(context: Context, *, known: bool) -> dict[str, Any]:
    """Parameters and cost of both models where they can be told; steps and hours where the data are there.

    Nothing is stored of a teacher that writes. The hours are those of training: what is written and measured
    after it comes on top.
    """
    from compressor.distill.schedule import total_steps

    writing = _writing(context, known=known)
    figures: dict[str, Any] = {
        "student": None if writing is None else _figures(context, writing, writing.student),
        "teacher": None if writing is None else _figures(context, writing, writing.teacher),
        "steps": None,
        "store_bytes": None,
        "hours": None,
    }
    if known:
        rows = len(context.pairs("train").rows)
        figures["steps"] = total_steps(context.recipe.distill, rows)
        if writing is not None:
            figures["hours"] = _hours(context, writing, rows)
    return figures


def _writing(context: Context, *, known: bool) -> Writing | None:
    """None where the teacher's configuration is not here. Raises `ModelError` for sizes that cannot be."""
    from transformers import BlipConfig

    from compressor.recipe.models import TrainedTokenizer
    from compressor.students.blip import halves
    from compressor.students.blip_build import student_config
    from compressor.students.blip_inherit import plan_towers
    from compressor.students.build import vocabulary_of
    from compressor.students.generator import Vocabulary
    from compressor.students.transformers_tower import read_config
    from compressor.teachers.blip_published import published_config

    section, chosen = context.writers.section, context.writers.student_section
    config: Any = None
    if section.sizes is not None:
        tokenizer = section.tokenizer or TrainedTokenizer(kind="train")  # counts with its full size
        size = vocabulary_of(tokenizer, section.context_length) + 2
    else:
        config = published_config(section.name)
        if section.path is not None and (section.path / "config.json").is_file():
            config = read_config(section.path)
        if not isinstance(config, BlipConfig):
            return None
        size = halves(config)[1].vocab_size
    vocabulary = Vocabulary(size, size - 2, 2, 0)
    student = student_config(chosen, vocabulary)
    if section.sizes is not None:
        config = student_config(section.sizes, vocabulary)
    elif chosen.start == "inherit":
        plan_towers(student, config)
    return Writing(student, config, vocabulary, *_lengths(context, known=known))


def _lengths(context: Context, *, known: bool) -> tuple[int, int]:
    """Tokens that are read of a target and of a question: the longest of a batch, a word as one token."""
    section = context.writers.section
    limit, asks = section.context_length, section.head == "vqa"
    if not known:
        return limit, limit if asks else 0
    pairs = context.pairs("train")
    texts = [text for row in pairs.rows[: context.recipe.distill.batch_size] for text in row.captions[:1]]
    if not isinstance(pairs, QuestionPairs):
        return _longest((f"{section.prompt} {text}" for text in texts), limit, 1), 0
    names = [name for row in pairs.rows[: len(texts)] for name in row.caption_ids[:1]]
    answers = (answer for name in names for answer in pairs.questions[name].answers[:1])
    return _longest(answers, limit, 1), _longest(texts, limit, 2)


def _longest(texts: Iterable[str], limit: int, special: int) -> int:
    """`special` tokens are read beside the words: of a target the opening one, of a question the closing one
    too."""
    words = (len(re.findall(r"\w+|[^\w\s]", text)) for text in texts)
    return min(max(words, default=0) + special, limit)


def _figures(context: Context, writing: Writing, config: BlipConfig) -> dict[str, Any]:
    import torch

    from compressor.students.blip import build_blip
    from compressor.students.dual_encoder import parameter_counts

    with torch.device("meta"):
        built = build_blip(config, context.writers.section.head, writing.vocabulary)
    cost = _cost(context, writing, config)
    return {
        "parameters": parameter_counts(built),
        "embed_dim": None,
        "gflops_image": cost.image_flops / 1e9,
        "gflops_text": cost.text_flops / 1e9,
    }


def _cost(context: Context, writing: Writing, config: BlipConfig) -> WritingCost:
    from compressor.students.blip_outline import writing_cost

    return writing_cost(config, context.writers.section.head, writing.target, writing.question)


def _hours(context: Context, writing: Writing, rows: int) -> dict[str, float]:
    """Operations to do, divided by what a step of the student was just measured to do."""
    from compressor.losses.balancer import build_balancer

    distill, fine_tune = context.recipe.distill, context.writers.section.fine_tune
    student, teacher = (_cost(context, writing, config) for config in (writing.student, writing.teacher))
    # A backward pass costs about twice its forward; a balancer that looks at the losses has pieces run twice.
    once = distill.micro_batch_size in (None, distill.batch_size)
    passes = 3 if once or build_balancer(distill.balancer).fixed_weights else 4
    a_row = (passes + (3 if distill.control else 0)) * student.row_flops(distill.texts_per_image)
    if any(loss.requires for loss in distill.losses):
        a_row += teacher.row_flops(distill.texts_per_image)
    work = {"distill": a_row * _rows_seen(distill, rows)}
    if fine_tune is not None:
        a_row = 3 * teacher.row_flops(fine_tune.texts_per_image)
        if fine_tune.lock_image:
            a_row -= 2 * teacher.image_flops  # nothing goes back through it
        work = {"teacher": a_row * _rows_seen(fine_tune, rows)} | work
    speed = 3600 * _measured_speed(context, writing, student.row_flops())
    return {stage: round(flops / speed, 4) for stage, flops in work.items()}


def _rows_seen(section: TrainingBase, rows: int) -> int:
    from compressor.distill.schedule import total_steps

    return total_steps(section, rows) * section.batch_size


def _measured_speed(context: Context, writing: Writing, flops: int) -> float:
    """Of the student's training, in floating-point operations a second."""
    import torch

    from compressor.students.blip import build_blip
    from compressor.students.generator import task_loss

    device, section = training_device(), context.recipe.distill
    rows = min(SAMPLE, section.micro_batch_size or section.batch_size, int(FLOPS_OF_A_TRY[device] // flops))
    rows = max(rows, 1)
    with torch.device(device):
        student = build_blip(writing.student, context.writers.section.head, writing.vocabulary)
        pixels = torch.randn(rows, 3, student.image_size, student.image_size)
        target = torch.ones(rows, writing.target + 1, dtype=torch.long)  # the last is predicted, not read
        question = torch.ones(rows, writing.question, dtype=torch.long) if writing.question else None

    def forward() -> torch.Tensor:
        output = student(pixels, target, question)
        return task_loss(output.logits, output.labels)

    return measured_speed(forward, flops * rows)
