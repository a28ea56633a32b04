"""Several teachers, and teachers of one modality: what a recipe may say of them, and what is refused."""

from __future__ import annotations

import pytest

from compressor.errors import RecipeError
from compressor.recipe.check import check
from compressor.recipe.rehearse import refusal_to_rehearse, rehearsal
from compressor.recipe.teacher import EnsembleTeacher, TimmTeacher, single_teachers
from tests.recipe.conftest import SMALL, Load

TIMM = "teacher={kind: timm, name: vit_base_patch16_224}"
TEXT = "teacher={kind: text, path: bert}"
REGRESSION = "distill.losses=[{kind: task}, {kind: regression}]"
MEMBERS = "{kind: checkpoint, path: one}, {kind: transformers, path: two}"
GIVEN = "{kind: embeddings, path: e.safetensors}"
ENSEMBLE = f"teacher={{kind: ensemble, members: [{MEMBERS}]}}"
MIXED = f"teacher={{kind: ensemble, members: [{MEMBERS}, {GIVEN}]}}"


def refusal(load: Load, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        check(load(*overrides))
    return str(caught.value).split(": ", 1)[1]


@pytest.mark.parametrize(
    "overrides",
    [
        [TIMM, REGRESSION],
        [TIMM, REGRESSION, "distill.signals=live", "student.shared={layers: 2}", "distill.control=true"],
        [TIMM, REGRESSION, "goals=['quality.student.rsum > 1', 'latency.pair.student.p50_ms < 9']"],
        [TEXT, REGRESSION, "distill.augmentation={crop_scale: [0.5, 1], views: 2}"],
        [TEXT, "distill.losses=[{kind: regression}]"],
        [ENSEMBLE],
        [ENSEMBLE, "distill.signals=live"],
        [MIXED, "distill.signals=live", "goals=['retention.rsum > 0.5', 'quality.teacher.rsum > 1']"],
        [ENSEMBLE, "distill.losses=[{kind: affinity, ensemble: distributions}]"],
        [ENSEMBLE, "teacher.weights=[1, 0.5]"],
        [
            MIXED,
            "teacher.members.2.invariances=[horizontal_flip]",
            "distill.augmentation={horizontal_flip: 0.5}",
        ],
    ],
)
def test_what_can_work_passes(load: Load, overrides: list[str]) -> None:
    check(load(*overrides))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            [TIMM],
            "distill.losses.0: contrastive needs the teacher's embeddings, which a teacher of kind timm does "
            "not provide; allowed: losses on global",
        ),
        (
            [ENSEMBLE, REGRESSION],
            "distill.losses.1: regression needs the teacher's global, which a teacher of kind ensemble",
        ),
        (
            [ENSEMBLE, "distill.signals=live", "distill.losses=[{kind: feature}, {kind: amad}]"],
            "distill.losses.1: amad needs the teacher's attention, which a teacher of kind ensemble does not "
            "provide; allowed: losses on embeddings",
        ),
        (
            ["distill.losses=[{kind: affinity, ensemble: distributions}]"],
            "distill.losses.0.ensemble: is distributions, but there is one teacher",
        ),
        (
            [f"teacher={{kind: ensemble, members: [{GIVEN}, {GIVEN}]}}", "distill.signals=live"],
            "distill.signals: is live, but a teacher of embeddings cannot be run; allowed: stored",
        ),
        (
            [MIXED, "distill.augmentation={horizontal_flip: 0.5}"],
            "distill.augmentation.horizontal_flip: changes the pictures, but the stored embeddings are of "
            "unchanged ones; leave it out, or name horizontal_flip in teacher.members.2.invariances",
        ),
        (
            [ENSEMBLE, "teacher.members.1.fine_tune={epochs: 1}"],
            "teacher.members.1.fine_tune: members of an ensemble teach as they are",
        ),
        ([TIMM, REGRESSION, "teacher.options={pretrained: true}"], "teacher.options.pretrained: is set by"),
        ([TIMM, REGRESSION, "teacher.options={a: {b: 1}}"], "teacher.options.a: is not plain"),
        (
            [TIMM, REGRESSION, "goals=['retention.rsum > 0.5']"],
            "goals.0: retention.rsum is not available: a teacher of kind timm knows one modality and ranks "
            "no pairs; take the goal out",
        ),
        (
            [TEXT, REGRESSION, "goals=['quality.teacher.rsum > 0.5']"],
            "goals.0: quality.teacher.rsum is not available: a teacher of kind text knows one modality",
        ),
        (
            [TIMM, REGRESSION, "goals=['latency.p50_ratio < 0.5']"],
            "goals.0: latency.p50_ratio is not available: a teacher of kind timm knows one modality",
        ),
        (
            [TIMM, REGRESSION, "goals=['size.parameter_ratio < 0.5']"],
            "goals.0: size.parameter_ratio is not available: a teacher of kind timm knows one modality",
        ),
        (
            [ENSEMBLE, "goals=['latency.pair.teacher.p50_ms < 5']"],
            "goals.0: latency.pair.teacher.p50_ms is not available: an ensemble is never exported",
        ),
        (
            [ENSEMBLE, "goals=['size.bytes_ratio < 0.5']"],
            "goals.0: size.bytes_ratio is not available: an ensemble is never exported",
        ),
    ],
)
def test_what_cannot_work_is_refused(load: Load, overrides: list[str], message: str) -> None:
    assert refusal(load, *overrides).startswith(message)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("teacher={kind: text}", "give exactly one of path"),
        ("teacher={kind: ensemble, members: [{kind: checkpoint, path: one}]}", "teacher.members: "),
        (f"teacher={{kind: ensemble, members: [{MEMBERS}], weights: [1]}}", "1 weights for 2 members"),
        (
            f"teacher={{kind: ensemble, members: [{MEMBERS}], weights: [1, 0]}}",
            "a weight is 0; allowed: more than 0",
        ),
        (
            "teacher={kind: ensemble, members: [{kind: timm, name: x}, {kind: checkpoint, path: one}]}",
            "teacher.members.0: unknown kind 'timm'; allowed: open_clip",
        ),
        (f"teacher={{kind: ensemble, members: [{MEMBERS}], batch_size: 3}}", "batch_size"),
        ("student.shared={layers: 0}", "student.shared.layers: is 0"),
    ],
)
def test_sections_that_are_not_whole_are_refused(load: Load, override: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(override)
    assert message in str(caught.value)


def test_paths_of_members_start_from_their_file(load: Load) -> None:
    alone = "  kind: checkpoint\n  path: teachers/one\n"
    members = "    - {kind: checkpoint, path: one}\n    - {kind: transformers, path: two}\n"
    loaded = load(text=SMALL.replace(alone, "  kind: ensemble\n  members:\n" + members))
    assert isinstance(loaded.recipe.teacher, EnsembleTeacher)
    paths = [getattr(member, "path", None) for member in loaded.recipe.teacher.members]
    assert paths == [loaded.path.parent / "one", loaded.path.parent / "two"]


def test_single_teachers_are_what_is_there_to_run(load: Load) -> None:
    assert single_teachers(None) == ()
    assert [each.batch_size for each in single_teachers(load(MIXED).recipe.teacher)] == [64, 64, 64]
    assert [type(each) for each in single_teachers(load(TIMM).recipe.teacher)] == [TimmTeacher]


def test_a_rehearsal_makes_every_member_smaller(load: Load) -> None:
    small = rehearsal(load(ENSEMBLE, "teacher.members.0.batch_size=2").recipe)
    assert [each.batch_size for each in single_teachers(small.teacher)] == [2, 4]
    reason = refusal_to_rehearse(load(MIXED).recipe)
    assert reason is not None
    assert "a member of its teacher is embeddings" in reason
    alone = rehearsal(load(TIMM, REGRESSION).recipe).teacher
    assert isinstance(alone, TimmTeacher)
    assert alone.batch_size == 4
