"""Recipes about models that write, and those that only look as if they were."""

from __future__ import annotations

import pytest

from compressor.errors import RecipeError
from compressor.recipe.check import check
from tests.recipe.conftest import SMALL, Load

WRITES = """\
name: writes
data:
  kind: scenes
teacher:
  kind: blip
  head: caption
  path: blips/large
student:
  kind: blip
  image: {layers: 2, width: 64, heads: 2, patch: 8, size: 64}
  text: {layers: 2, width: 64, heads: 2, context_length: 48}
distill:
  epochs: 3
  signals: live
  losses:
    - kind: task
    - kind: logits
    - kind: amad
"""
OWN = (
    "teacher={kind: blip, head: vqa, image: {layers: 1, width: 32, heads: 2, patch: 8, size: 64}, "
    "text: {layers: 1, width: 32, heads: 2}, context_length: 30, fine_tune: {epochs: 1}}"
)
QUESTIONS = "data={kind: scenes_questions}"


def refusal(load: Load, *overrides: str, text: str = WRITES) -> str:
    with pytest.raises(RecipeError) as caught:
        check(load(*overrides, text=text))
    return str(caught.value)


def test_a_picture_is_not_locked_out_of_random_layers(load: Load) -> None:
    locked = OWN.replace("epochs: 1}", "epochs: 1, lock_image: true}")
    told = refusal(load, locked, QUESTIONS)
    assert "teacher.fine_tune.lock_image" in told
    assert "random weights" in told
    check(
        load(
            locked.replace("size: 64}", "size: 64, weights: 'builtin:scenes_teacher'}", 1),
            QUESTIONS,
            text=WRITES,
        )
    )


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        [OWN, QUESTIONS],
        [OWN, "data={kind: vqa, root: vqa}"],
        ["teacher.prompt=a picture of", "evaluate.generation={metrics: [cider], max_length: 30}"],
        ["distill.losses=[{kind: task}, {kind: amad, image: null, text: null, question: null}]"],
        [
            "distill.control=true",
            "goals=['quality.control.cider > 1', 'retention.lead_over_control.cider > 0']",
        ],
        ["goals=['retention.intervals.cider.low > 0.5', 'latency.generation.student.p50_ms < 9']"],
        [OWN, QUESTIONS, "goals=['quality.student.by_answer_type.number > 1', 'size.bytes_ratio < 1']"],
    ],
)
def test_what_can_work_passes(load: Load, overrides: list[str]) -> None:
    check(load(*overrides, text=WRITES))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["distill.signals=stored"], "distill.signals: is stored, but logits and attention maps"),
        (
            ["distill.losses=[{kind: contrastive}]"],
            "distill.losses.0: contrastive needs the teacher's embeddings, which a teacher of kind blip does",
        ),
        (["teacher={kind: checkpoint, path: x}"], "student.kind: is blip, but teacher is of kind checkpoint"),
        (
            ["teacher={kind: blip_retrieval, path: x}"],
            "student.kind: is blip, but teacher is of kind blip_re",
        ),
        (["student={kind: inherit}"], "student.kind: is inherit, but the teacher writes text; allowed: blip"),
        (["export.search=true"], "export.search: is for students that embed, and this one writes"),
        (["teacher.head=vqa"], "data.kind: is scenes, which has captions and no questions"),
        ([QUESTIONS], "data.kind: is scenes_questions, whose questions only"),
        ([OWN, QUESTIONS, "student.text.width=32"], "student.text.width: is 32, but for VQA the BERT must"),
        (
            ["student.text.context_length=30"],
            "student.text.context_length: is 30; allowed: at least teacher.",
        ),
        (["distill.balancer={kind: gradnorm}"], "distill.balancer: is gradnorm, which compares gradients at"),
        (["distill.losses.2.variant=projected"], "distill.losses.2.variant: is projected, whose learned map"),
        (["distill.losses.2.question=last"], "distill.losses.2.question: names layers of a question encoder"),
        (
            ["evaluate.generation={max_length: 60}"],
            "evaluate.generation.max_length: is 60, but a model has 48",
        ),
        (
            ["evaluate.generation={min_length: 20}"],
            "evaluate.generation.min_length: is 20; allowed: less than",
        ),
        (["goals=['quality.student.rsum > 1']"], "the student writes captions, which have no rsum"),
        (
            ["goals=['quality.student.vqa_accuracy > 1']"],
            "the student writes captions, which have no vqa_acc",
        ),
        (["goals=['latency.pair.student.p50_ms < 1']"], "is timed whole: latency.generation"),
        (["goals=['artifacts.int8.recall_delta > 1']"], "a student that writes has no recall_delta"),
    ],
)
def test_what_cannot_work_is_one_sentence_with_its_place(
    load: Load, overrides: list[str], message: str
) -> None:
    found = refusal(load, *overrides)
    assert message in found
    assert all(":" in line for line in found.splitlines())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["distill.losses=[{kind: logits}]"],
            "distill.losses.0: logits needs the teacher's logits, which a teacher of kind checkpoint does",
        ),
        (
            [
                "student={kind: blip, image: {layers: 1, width: 8, heads: 1}, "
                "text: {layers: 1, width: 8, heads: 1}}"
            ],
            "student.kind: is blip, but teacher is of kind checkpoint",
        ),
        (
            ["evaluate.generation={beams: 2}"],
            "evaluate.generation: says how text is written, but this student",
        ),
        (
            ["distill.losses=[{kind: amad, cross: last}, {kind: task}]", "distill.signals=live"],
            "distill.losses.0.cross: names layers of a BLIP that writes",
        ),
        (
            ["distill.losses=[{kind: amad, image: null, text: null}, {kind: task}]", "distill.signals=live"],
            "distill.losses.0: image and text are both null",
        ),
        (["data={kind: scenes_questions}"], "data.kind: is scenes_questions, whose questions only"),
        (["goals=['quality.student.cider > 1']"], "the student embeds and writes no text"),
        (["goals=['retention.cider > 1']"], "the student embeds and writes no text"),
    ],
)
def test_a_student_that_embeds_has_nothing_of_writing(load: Load, overrides: list[str], message: str) -> None:
    assert message in refusal(load, *overrides, text=SMALL)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ("{kind: blip, head: caption}", "give exactly one of path"),
        ("{kind: blip, head: caption, path: a, name: b}", "give exactly one of path"),
        (
            "{kind: blip, head: caption, image: {layers: 1, width: 8, heads: 1}}",
            "a teacher of its own sizes needs both image and text",
        ),
        (
            "{kind: blip, head: caption, image: {layers: 1, width: 8, heads: 1}, "
            "text: {layers: 1, width: 8, heads: 1}}",
            "it needs fine_tune",
        ),
        ("{kind: blip, head: caption, path: a, tokenizer: {kind: clip}}", "this one brings its own"),
        ("{kind: blip, head: vqa, path: a, prompt: a}", "prompt belongs to head: caption"),
    ],
)
def test_a_teacher_that_writes_has_one_source(load: Load, teacher: str, message: str) -> None:
    assert message in refusal(load, f"teacher={teacher}")
