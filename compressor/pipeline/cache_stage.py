"""Stage `cache`: pictures decoded once, the teacher run once over every view that training will show."""

from __future__ import annotations

from typing import Any

from compressor.files import hash_json, write_json
from compressor.pipeline import team
from compressor.pipeline.context import Context
from compressor.pipeline.stage import Outcome, Stage
from compressor.recipe.models import InheritedStudent
from compressor.recipe.student import Student


def about(context: Context) -> str:
    if context.stores_signals:
        return "decode the pictures once, run the teacher once over every training view"
    return "decode the pictures once"


def inputs(context: Context) -> dict[str, Any]:
    recipe, distill = context.recipe, context.recipe.distill
    return {
        "train": context.pairs("train").fingerprint,
        "val": context.pairs(context.validation_split).fingerprint,
        "data": {"max_bad_fraction": recipe.data.max_bad_fraction},
        "student": _geometry(recipe.student),
        "signals": distill.signals,
        "augmentation": distill.augmentation.model_dump(mode="json"),
        "length": [distill.epochs, distill.steps, distill.batch_size]
        if distill.augmentation.active
        else None,
        "seed": recipe.seed,
    }


def _geometry(student: Student) -> int | str:
    """What of the student decides the decoded pictures: its input's side; the teacher's where it inherits."""
    return student.kind if isinstance(student, InheritedStudent) else student.image.input.size


def run(context: Context, key: str) -> Outcome:
    train, val = context.decoded("train"), context.decoded(context.validation_split)
    counts: dict[str, Any] = {
        "train": _counts(context, "train", train.kept),
        context.validation_split: _counts(context, context.validation_split, val.kept),
    }
    summary = f"{len(train.kept)} training and {len(val.kept)} validation pictures"
    facts = dict(counts)
    if context.stores_signals:
        # Other runs add to the same store, so that its size is no part of what later stages build on.
        stores = context.build_stores()
        images, texts = sum(store.image_rows for store in stores), sum(store.text_rows for store in stores)
        facts["store"] = {"images": images, "texts": texts, "bytes": sum(store.bytes for store in stores)}
        summary += f", {images} + {texts} teacher embeddings"
    record = context.folder.root / "cache.json"
    if team.leads():
        pixels = hash_json([train.digest(k) for k in range(len(train.kept))])
        write_json(record, counts | {"pixels": pixels})
    return Outcome([record], summary, facts)


def _counts(context: Context, split: Any, kept: list[int]) -> dict[str, int]:
    rows = context.pairs(split).rows
    return {
        "images": len(kept),
        "captions": sum(len(rows[i].captions) for i in kept),
        "bad_images": len(rows) - len(kept),
    }


STAGE = Stage("cache", ("teacher",), about, inputs, run)
