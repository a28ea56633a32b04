"""Stage `evaluate`: retrieval of teacher, student and control on the same rows, through the same runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.data.pairs import PairSet
from compressor.files import write_json
from compressor.pipeline.context import Context
from compressor.pipeline.distill_stage import roles
from compressor.pipeline.stage import Outcome, Stage
from compressor.pipeline.teachers import Teacher
from compressor.recipe.teacher import EnsembleTeacher
from compressor.runtime.manifest import read_manifest
from compressor.runtime.schema import Role

if TYPE_CHECKING:
    from compressor.evaluate.encode import EncodedPairs, PairEncoder
    from compressor.evaluate.retrieval import Ranks


def about(context: Context) -> str:
    return f"retrieval on the {context.recipe.evaluate.split} split, any of an image's captions counts"


def inputs(context: Context) -> dict[str, Any]:
    section = context.recipe.evaluate
    return {
        "evaluate": section.model_dump(mode="json"),
        "data": context.pairs(section.split).fingerprint,
        "calibration": context.pairs(context.validation_split).fingerprint,
        "max_bad_fraction": context.recipe.data.max_bad_fraction,
        "seed": context.recipe.seed,
    }


def run(context: Context, key: str) -> Outcome:
    from compressor.evaluate.examples import pick_examples

    encoded = {role: _encode(context, role) for role in roles(context)}
    if context.teacher_ranks:
        encoded = {"teacher": _encode_teacher(context, encoded["student"].ids), **encoded}
    ranks = {role: pairs.ranks() for role, pairs in encoded.items()}
    section, student = context.recipe.evaluate, encoded["student"]
    quality = {role: _quality(context, role, ranks[role]) for role in ranks}
    counts = {"images": len(student.ids), "captions": len(student.text_embeds), "bad_images": student.bad}
    pairs = context.pairs(section.split)
    facts = {
        "quality": quality,
        "retention": _retention(context, ranks),
        "calibration": _calibration(context),
        "examples": pick_examples(encoded.get("teacher"), student, pairs, section.examples),
        "data": {section.split: counts},
    }
    write_json(context.folder.evaluation, facts)
    return Outcome(
        [context.folder.evaluation], ", ".join(f"{role} RSUM {q['rsum']:.1f}" for role, q in quality.items())
    )


def _encode(context: Context, role: Role, pairs: PairSet | None = None) -> EncodedPairs:
    """A role's embeddings through its bundle, at the precision the bundle itself would serve."""
    from compressor.runtime.bundle import Bundle

    bundle = Bundle.open(context.folder.bundle_of(role))
    return _encode_with(context, bundle, f"encoding with the {role}", pairs)


def _encode_with(
    context: Context, encoder: PairEncoder, label: str, pairs: PairSet | None = None
) -> EncodedPairs:
    """Embeddings of `pairs`, None for those that are evaluated."""
    from compressor.evaluate.encode import encode_pairs

    section = context.recipe.evaluate
    return encode_pairs(
        encoder,
        pairs or context.pairs(section.split),
        section.batch_size,
        context.progress(label),
        context.recipe.data.max_bad_fraction,
    )


def _encode_teacher(context: Context, ids: Sequence[str], pairs: PairSet | None = None) -> EncodedPairs:
    """The teacher's embeddings of the same rows: through its bundle, read, or the members' side by side."""
    if context.teacher_has_bundle:
        return _encode(context, "teacher", pairs)
    members = [_encode_without_bundle(context, teacher, ids, pairs) for teacher in context.teachers]
    section = context.recipe.teacher
    if not isinstance(section, EnsembleTeacher):
        return members[0]
    import torch

    from compressor.losses.ensemble import join_rows, members_of

    shares = members_of([each.image_embeds.shape[1] for each in members], section.weights)
    images, texts = (
        join_rows([torch.from_numpy(rows) for rows in sides], shares).numpy()
        for sides in zip(*((each.image_embeds, each.text_embeds) for each in members), strict=True)
    )
    return replace(members[0], image_embeds=images, text_embeds=texts)


def _encode_without_bundle(
    context: Context, teacher: Teacher, ids: Sequence[str], pairs: PairSet | None
) -> EncodedPairs:
    """Embeddings of a teacher as they were read, or as its PyTorch model makes them."""
    if teacher.section.runnable:
        from compressor.export.pytorch import TorchEncoder
        from compressor.students.encoder import Model

        assert isinstance(teacher.model, Model)  # a teacher of one modality ranks nothing
        return _encode_with(context, TorchEncoder(teacher.model), f"encoding with {teacher.label}", pairs)
    from compressor.evaluate.encode import EncodedPairs

    rows = {row.id: row for row in (pairs or context.pairs(context.recipe.evaluate.split)).rows}
    kept = [rows[name] for name in ids]
    stored = teacher.embeddings
    return EncodedPairs(
        image_embeds=stored.image(ids),
        text_embeds=stored.text([caption for row in kept for caption in row.caption_ids]),
        text_to_image=np.repeat(np.arange(len(kept)), [len(row.captions) for row in kept]),
        ids=ids,
        bad=0,
    )


def _quality(context: Context, role: Role, ranks: Ranks) -> dict[str, Any]:
    section = context.recipe.evaluate
    read = role == "teacher" and not context.teacher_has_bundle
    stored = "fp32" if context.teacher_runs else "fp16"
    quality = ranks.quality(
        bootstrap=section.bootstrap,
        seed=context.recipe.seed,
        precision=stored if read else read_manifest(context.folder.bundle_of(role)).default_precision,
        source="embeddings" if read else "bundle",
    )
    return quality.model_dump(mode="json")


def _retention(context: Context, ranks: dict[Role, Ranks]) -> dict[str, Any] | None:
    from compressor.evaluate.bootstrap import compare
    from compressor.export.pytorch import TorchEncoder
    from compressor.teachers.checkpoint import load_any_checkpoint

    if "teacher" not in ranks and "control" not in ranks:
        return None
    before_export = TorchEncoder(load_any_checkpoint(context.folder.checkpoint))
    found = compare(
        ranks.get("teacher"),
        ranks["student"],
        ranks.get("control"),
        resamples=context.recipe.evaluate.bootstrap,
        seed=context.recipe.seed,
        pytorch_rsum=_encode_with(context, before_export, "encoding in PyTorch").ranks().rsum,
    )
    return found.model_dump(mode="json")


def _calibration(context: Context) -> dict[str, Any] | None:
    """The teacher's cosines on the student's scale, from validation pairs; None without a teacher."""
    from compressor.export.calibration import CalibrationPairs, fit_calibration
    from compressor.pipeline.calibration import some_pairs

    if not context.teacher_ranks:
        return None
    pairs = some_pairs(context.pairs(context.validation_split))
    student = _encode(context, "student", pairs)
    teacher = _encode_teacher(context, student.ids, pairs)
    found = fit_calibration(
        CalibrationPairs(
            teacher=(teacher.image_embeds, teacher.text_embeds),
            student=(student.image_embeds, student.text_embeds),
            text_to_image=student.text_to_image,
        ),
        split=context.validation_split,
        precision=read_manifest(context.folder.bundle).default_precision,
        seed=context.recipe.seed,
    )
    return None if found is None else found.model_dump(mode="json")


STAGE = Stage("evaluate", ("teacher", "distill", "export"), about, inputs, run)
