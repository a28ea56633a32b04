"""Stage `evaluate`: retrieval of teacher, student and control on the same rows, through the same runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.files import write_json
from compressor.pipeline.context import Context
from compressor.pipeline.distill_stage import roles
from compressor.pipeline.stage import Outcome, Stage

if TYPE_CHECKING:
    from compressor.evaluate.encode import EncodedPairs
    from compressor.evaluate.retrieval import Ranks


def about(context: Context) -> str:
    return f"retrieval on the {context.recipe.evaluate.split} split, any of an image's captions counts"


def inputs(context: Context) -> dict[str, Any]:
    section = context.recipe.evaluate
    return {
        "evaluate": section.model_dump(mode="json"),
        "data": context.pairs(section.split).fingerprint,
        "max_bad_fraction": context.recipe.data.max_bad_fraction,
        "seed": context.recipe.seed,
    }


def run(context: Context, key: str) -> Outcome:
    from compressor.evaluate.examples import pick_examples
    from compressor.evaluate.retrieval import retrieval

    encoded = {role: _encode(context, role) for role in roles(context)}
    if context.recipe.teacher is not None:
        encoded = {"teacher": _encode_teacher(context, encoded["student"].ids), **encoded}
    ranks = {
        role: retrieval(pairs.image_embeds, pairs.text_embeds, pairs.text_to_image)
        for role, pairs in encoded.items()
    }
    section = context.recipe.evaluate
    facts = {
        "quality": {role: _quality(context, role, ranks[role]) for role in ranks},
        "retention": _retention(context, ranks),
        "examples": pick_examples(
            encoded.get("teacher"), encoded["student"], context.pairs(section.split), section.examples
        ),
        "data": {
            section.split: {
                "images": len(encoded["student"].ids),
                "captions": len(encoded["student"].text_embeds),
                "bad_images": encoded["student"].bad,
            }
        },
    }
    write_json(context.folder.evaluation, facts)
    rsums = ", ".join(f"{role} RSUM {quality['rsum']:.1f}" for role, quality in facts["quality"].items())
    return Outcome([context.folder.evaluation], rsums, {})


def _encode(context: Context, role: str) -> EncodedPairs:
    from compressor.evaluate.encode import encode_pairs
    from compressor.runtime.bundle import Bundle

    section = context.recipe.evaluate
    precision = context.recipe.export.default if role == "student" else "fp32"
    return encode_pairs(
        Bundle.open(context.folder.bundle_of(role), precision=precision),
        context.pairs(section.split),
        section.batch_size,
        context.progress(f"encoding with the {role}"),
        context.recipe.data.max_bad_fraction,
    )


def _encode_teacher(context: Context, ids: list[str]) -> EncodedPairs:
    """The teacher's embeddings of the same rows: through its bundle, or read where only embeddings exist."""
    if context.teacher_runs:
        return _encode(context, "teacher")
    from compressor.evaluate.encode import EncodedPairs

    rows = {row.id: row for row in context.pairs(context.recipe.evaluate.split).rows}
    kept = [rows[name] for name in ids]
    stored = context.stored_embeddings
    return EncodedPairs(
        image_embeds=stored.image(ids),
        text_embeds=stored.text([caption for row in kept for caption in row.caption_ids]),
        text_to_image=np.repeat(np.arange(len(kept)), [len(row.captions) for row in kept]),
        ids=ids,
        bad=0,
    )


def _quality(context: Context, role: str, ranks: Ranks) -> dict[str, Any]:
    section = context.recipe.evaluate
    stored = role == "teacher" and not context.teacher_runs
    precision = "fp16" if stored else (context.recipe.export.default if role == "student" else "fp32")
    quality = ranks.quality(
        bootstrap=section.bootstrap,
        seed=context.recipe.seed,
        precision=precision,
        source="embeddings" if stored else "bundle",
    )
    return quality.model_dump(mode="json")


def _retention(context: Context, ranks: dict[str, Ranks]) -> dict[str, Any] | None:
    from compressor.evaluate.bootstrap import compare

    if "teacher" not in ranks:
        return None
    section = context.recipe.evaluate
    found = compare(
        ranks["teacher"],
        ranks["student"],
        ranks.get("control"),
        resamples=section.bootstrap,
        seed=context.recipe.seed,
    )
    return found.model_dump(mode="json")


STAGE = Stage("evaluate", ("teacher", "export"), about, inputs, run)
