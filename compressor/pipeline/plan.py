"""`compressor plan`: what a run would do, how large it is, and roughly how long it takes on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compressor.data import missing_data
from compressor.pipeline.context import Context
from compressor.pipeline.libraries import TRAINING, require_libraries
from compressor.pipeline.progress import QuietReporter
from compressor.pipeline.run import chain, open_context, walk
from compressor.pipeline.runtimes import runtime_notes
from compressor.pipeline.speed import SAMPLE, measured_speed, training_device
from compressor.pipeline.student import blank_student, outline_student
from compressor.recipe import Recipe

if TYPE_CHECKING:
    from compressor.students.outline import Outline


def make_plan(recipe: Recipe, runs: Path, *, rehearse: bool = False) -> dict[str, Any]:
    """Stages with their state, sizes, the store's bytes and estimated hours, as plain data.

    Builds nothing and downloads nothing. Figures that cannot be known yet are null, and `missing` says why.
    """
    require_libraries("a plan", TRAINING)
    context = open_context(recipe, runs, QuietReporter(), rehearse)
    missing = missing_data(context.recipe.data)
    known = not missing
    if context.recipe.teacher is not None and not rehearse:
        from compressor.teachers.load import missing_resources

        missing = [*missing, *missing_resources(context.recipe.teacher)]
    plan: dict[str, Any] = {
        "name": context.recipe.name,
        "folder": str(context.folder.root),
        "stages": _stages(context, known=known),
        "missing": missing,
        "notes": runtime_notes(context.recipe),
    }
    return plan | _sizes(context, known=known)


def _stages(context: Context, *, known: bool) -> list[dict[str, Any]]:
    if not known:
        stages = chain(context.recipe)
        return [{"name": s.name, "about": s.about(context), "state": "waits for data"} for s in stages]
    return [
        {
            "name": state.stage.name,
            "about": state.stage.about(context),
            "state": "done" if state.done else "to run",
        }
        for state in walk(context)
    ]


def _sizes(context: Context, *, known: bool) -> dict[str, Any]:
    if context.recipe.head is not None:
        from compressor.pipeline.generation.plan import written_sizes

        return written_sizes(context, known=known)
    from compressor.distill.schedule import total_steps
    from compressor.distill.store_index import store_bytes
    from compressor.teachers.outline import outline_teacher

    recipe = context.recipe
    student = outline_student(recipe.student, recipe.teacher)
    teacher = outline_teacher(recipe.teacher) if recipe.teacher is not None else None
    figures: dict[str, Any] = {
        "student": None if student is None else _figures(student),
        "teacher": None if teacher is None else _figures(teacher),
        "steps": None,
        "store_bytes": None,
        "hours": None,
    }
    if not known:
        return figures
    rows = context.pairs("train").rows
    captions = sum(len(row.captions) for row in rows)
    steps = total_steps(recipe.distill, len(rows))
    figures["steps"] = steps
    if teacher is not None and context.stores_signals:
        views = len(context.views(len(rows)))
        images = len(rows) if teacher.image_flops else 0  # a text teacher leaves none
        texts = captions if teacher.text_flops else 0
        figures["store_bytes"] = store_bytes(images, views, texts, teacher.embed_dim)
    if student is not None:
        figures["hours"] = _hours(context, student, teacher, len(rows), captions, steps)
    return figures


def _figures(outline: Outline) -> dict[str, Any]:
    return {
        "parameters": outline.parameters,
        "embed_dim": outline.embed_dim,
        "gflops_image": outline.image_flops / 1e9,
        "gflops_text": outline.text_flops / 1e9,
    }


def _hours(
    context: Context, student: Outline, teacher: Outline | None, images: int, captions: int, steps: int
) -> dict[str, float]:
    """Operations to do, divided by what a step of the student was just measured to do."""
    section = context.recipe.distill
    speed = 3600 * _measured_speed(context, student)
    # A backward pass costs about twice its forward; micro-batches run the forward twice.
    passes = 4 if section.micro_batch_size not in (None, section.batch_size) else 3
    training = passes * student.pair_flops * section.batch_size * steps
    hours = {"distill": training * (2 if section.control else 1) / speed}
    if teacher is not None:
        if context.stores_signals:
            work = images * len(context.views(images)) * teacher.image_flops + captions * teacher.text_flops
            hours["cache"] = work / speed
        else:
            hours["distill"] += teacher.pair_flops * section.batch_size * steps / speed
    return {stage: round(value, 4) for stage, value in hours.items()}


def _measured_speed(context: Context, outline: Outline) -> float:
    """Of the student's training, in floating-point operations a second."""
    import torch

    with torch.device(training_device()):
        blank = blank_student(context.recipe.student, context.recipe.teacher)
        assert blank is not None  # there is an outline of it
        pixels = torch.randn(SAMPLE, 3, blank.image_size, blank.image_size)
        tokens = torch.randint(1, 200, (SAMPLE, blank.context_length))
    encoder = blank.encoder

    def forward() -> torch.Tensor:
        return encoder.encode_image(pixels).sum() + encoder.encode_text(tokens).sum()

    return measured_speed(forward, outline.pair_flops * SAMPLE)


def print_plan(plan: dict[str, Any], console: Console | None = None) -> None:
    """The plan as a table and a few lines."""
    console = console or Console()
    table = Table(title=escape(f"{plan['name']} in {plan['folder']}"), title_justify="left")
    for heading in ("stage", "state", "what"):
        table.add_column(heading)
    for stage in plan["stages"]:
        table.add_row(stage["name"], stage["state"], escape(stage["about"]))
    console.print(table)
    for role in ("teacher", "student"):
        if plan[role] is not None:
            console.print(f"  {role:8} {_described(plan[role])}", highlight=False, soft_wrap=True)
    if plan["steps"] is not None:
        console.print(f"  {plan['steps']} steps", highlight=False)
    if plan["store_bytes"] is not None:
        megabytes = plan["store_bytes"] / 1e6
        console.print(f"  store    {megabytes:,.2f} MB of teacher embeddings", highlight=False)
    if plan["hours"] is not None:
        parts = ", ".join(f"{stage} {_duration(hours)}" for stage, hours in plan["hours"].items())
        console.print(f"  estimate on this machine, rough: {parts}", highlight=False, soft_wrap=True)
    for word in ("missing", "notes"):
        for sentence in plan[word]:
            shown = f"  [yellow]{word.removesuffix('s'):8}[/] {escape(sentence)}"
            console.print(shown, highlight=False, soft_wrap=True)


def _described(figures: dict[str, Any]) -> str:
    parts = [f"{figures['parameters']['total'] / 1e6:.2f} M parameters"]
    if figures["embed_dim"] is not None:
        parts.append(f"{figures['embed_dim']} dimensions")
    parts.append(f"{figures['gflops_image']:.3g} GFLOPs an image, {figures['gflops_text']:.3g} a text")
    return ", ".join(parts)


def _duration(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.1f} min" if hours < 1 else f"{hours:.1f} h"
