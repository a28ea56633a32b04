"""Stage `evaluate` of a student that writes: all models on the same rows, by beam search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compressor.files import write_json
from compressor.pipeline import evaluate_stage
from compressor.pipeline.context import Context
from compressor.pipeline.distill_stage import roles
from compressor.pipeline.stage import Outcome, Stage
from compressor.runtime.schema import Role

if TYPE_CHECKING:
    from compressor.pipeline.generation.write import Written


def about(context: Context) -> str:
    writing, split = context.recipe.writing, context.recipe.evaluate.split
    measured = "answers by VQA accuracy" if context.recipe.head == "vqa" else f"captions by {_named(context)}"
    return f"{measured} on the {split} split, {writing.beams} beams"


def inputs(context: Context) -> dict[str, Any]:
    writing = context.recipe.writing.model_dump(mode="json")
    return evaluate_stage.inputs(context) | {"generation": writing}


def run(context: Context, key: str) -> Outcome:
    from compressor.pipeline.generation.examples import pick_examples
    from compressor.pipeline.generation.scores import retention, score

    section, seed = context.recipe.evaluate, context.recipe.seed
    pairs = context.pairs(section.split)
    names: list[Role] = ["teacher", *roles(context)]
    written = {role: _written(context, role) for role in names}
    scored = {
        role: score(found.texts, pairs, context.recipe.writing.metrics) for role, found in written.items()
    }
    quality = {role: each.quality(section.bootstrap, seed) for role, each in scored.items()}
    texts = {role: found.texts for role, found in written.items()}
    bad = written["student"].bad
    facts = {
        "quality": {role: each.model_dump(mode="json") for role, each in quality.items()},
        "retention": retention(scored, section.bootstrap, seed).model_dump(mode="json"),
        "examples": pick_examples(texts, scored, pairs, section.examples, seed),
        "data": {section.split: _counts(context, bad)},
    }
    write_json(context.folder.evaluation, facts)
    for role, found in texts.items():
        write_json(context.folder.root / "written" / f"{role}.json", found)
    figure = "vqa_accuracy" if context.recipe.head == "vqa" else "cider"
    shown = [f"{role} {each.figures[figure]:.1f}" for role, each in scored.items() if figure in each.figures]
    label = "VQA accuracy" if context.recipe.head == "vqa" else "CIDEr"
    return Outcome(
        [context.folder.evaluation, context.folder.root / "written"],
        f"{label}: {', '.join(shown)}" if shown else f"{label} is not available here",
    )


def _written(context: Context, role: Role) -> Written:
    """What a role writes about every row of the split."""
    from compressor.distill.processes import process_state
    from compressor.pipeline.generation.write import write_texts

    section = context.recipe.evaluate
    return write_texts(
        context.writers.trained(role),
        context.pairs(section.split),
        context.recipe.writing,
        section.batch_size,
        context.recipe.data.max_bad_fraction,
        context.progress(f"writing with the {role}"),
        process_state().device,
    )


def _counts(context: Context, bad: int) -> dict[str, int]:
    rows = context.pairs(context.recipe.evaluate.split).rows
    return {
        "images": len(rows) - bad,
        "captions": sum(len(row.captions) for row in rows),
        "bad_images": bad,
    }


def _named(context: Context) -> str:
    from compressor.evaluate.captioning import LABELS

    return ", ".join(LABELS.get(name, name.upper()) for name in context.recipe.writing.metrics)


STAGE = Stage("evaluate", ("teacher", "distill"), about, inputs, run)
