"""Recipes that compare attention maps: layers, heads and variants that their models cannot have."""

from __future__ import annotations

import pytest

from compressor.recipe.check import check
from tests.recipe.conftest import SMALL, Load
from tests.recipe.test_check_generation import OWN, QUESTIONS, WRITES, refusal

LIVE = "distill.signals=live"
CAPTIONS = OWN.replace("head: vqa", "head: caption")
INHERIT = "student={kind: inherit, image: {layers: 6}, text: {layers: 4}}"


def amad(options: str) -> str:
    return f"distill.losses=[{{kind: task}}, {{kind: amad, {options}}}]"


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        (SMALL, [LIVE, amad("text: {40: 4}")]),  # four layers by default; the teacher's are not known
        (SMALL, [LIVE, amad("image: {1: 99}")]),  # what the name of the tower stands for is not known
        (SMALL, [LIVE, amad("variant: projected, text: null")]),
        (SMALL, [LIVE, amad("variant: one_to_one")]),
        (SMALL, [LIVE, INHERIT, amad("image: {12: 6}, text: {12: 4}")]),
        (WRITES, [amad("text: {40: 2}, cross: {40: 1}")]),
        (WRITES, [CAPTIONS, amad("variant: one_to_one")]),
        (WRITES, [CAPTIONS, amad("variant: one_to_one, text: null, cross: null"), "student.text.heads=4"]),
        (WRITES, [OWN, QUESTIONS, amad("image: null, text: null, cross: null")]),
    ],
)
def test_what_can_work_passes(load: Load, text: str, overrides: list[str]) -> None:
    check(load(*overrides, text=text))


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (
            SMALL,
            [LIVE, amad("text: {1: 5}")],
            "losses.1.text: names layer 5 of the student, whose text tower has 4",
        ),
        (
            SMALL,
            [LIVE, amad("image: {1: 4}"), "student.image.options={depth: 3}"],
            "losses.1.image: names layer 4 of the student, whose image tower has 3",
        ),
        (
            SMALL,
            [LIVE, INHERIT, amad("image: {12: 7}")],
            "names layer 7 of the student, whose image tower has 6",
        ),
        (
            SMALL,
            [LIVE, amad("variant: projected")],
            "losses.1.variant: is projected, whose learned map has one size",
        ),
        (
            WRITES,
            [amad("cross: {1: 3}")],
            "losses.1.cross: names layer 3 of the student, whose text tower has 2",
        ),
        (
            WRITES,
            [CAPTIONS, amad("text: {2: 1}")],
            "losses.1.text: names layer 2 of the teacher, whose text tower has 1",
        ),
        (
            WRITES,
            [OWN, QUESTIONS, amad("question: {1: 3}")],
            "losses.1.question: names layer 3 of the student, whose text tower has 2",
        ),
        (WRITES, [amad("image: null, text: null, cross: null")], "image, text and cross are all null"),
        (
            WRITES,
            [CAPTIONS, amad("variant: one_to_one"), "student.text.heads=4"],
            "but student.text has 4 and teacher.text 2",
        ),
    ],
)
def test_maps_that_cannot_be_compared_are_refused(
    load: Load, text: str, overrides: list[str], message: str
) -> None:
    assert message in refusal(load, *overrides, text=text)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("student.image.layers=3", "student.image.layers: makes layers 3, but start: inherit takes a part"),
        ("student.image.width=128", "student.image.width: makes width 128"),
        ("student.text.heads=4", "student.text.heads: makes heads 4"),
        ("student.text.heads=1", "student.text.heads: makes width / heads 32"),
        ("student.text.mlp_ratio=8", "student.text.mlp_ratio: makes width x mlp_ratio 256"),
        (
            "student.image.patch=16",
            "student.image.patch: is 16; allowed with start: inherit: the teacher's (8)",
        ),
        ("student.text.context_length=80", "student.text.context_length: is 80; allowed with start: inherit"),
    ],
)
def test_a_student_cut_out_of_a_teacher_of_known_sizes_is_no_larger(
    load: Load, setting: str, message: str
) -> None:
    part = (
        "student={kind: blip, start: inherit, image: {layers: 1, width: 32, heads: 2, patch: 8, size: 64}, "
        "text: {layers: 1, width: 32, heads: 2}}"
    )
    check(load(CAPTIONS, part, text=WRITES))
    assert message in refusal(load, CAPTIONS, part, setting, text=WRITES)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            "{kind: contrastive, temperature: 1e-300}",
            "losses.0.temperature: is 1e-300; allowed: a number, at least",
        ),
        ("{kind: affinity, teacher_temperature: 1e300}", "losses.0.teacher_temperature: is 1e+300"),
        (
            "{kind: masked_feature, patch: 224}",
            "losses.0: masks 1 of the 1 squares of 224 pixels in a picture",
        ),
        ("{kind: masked_feature, patch: 112, fraction: 0.1}", "losses.0: masks 0 of the 4 squares"),
    ],
)
def test_numbers_under_which_a_loss_means_nothing_are_refused(load: Load, loss: str, message: str) -> None:
    assert message in refusal(load, f"distill.losses=[{loss}]", text=SMALL)


def test_the_temperature_of_a_balancer_is_bounded(load: Load) -> None:
    found = refusal(load, "distill.balancer={kind: dwa, temperature: 1e-310}", text=SMALL)
    assert "distill.balancer.temperature: is 1e-310; allowed: a number, at least 1e-06" in found
