"""Training tells nothing of what it never shows: always false, it would teach to answer without looking."""

from __future__ import annotations

import re

import pytest

from compressor.data.randomness import Dice
from compressor.data.scene import Scene, Shape, held_out, in_unseen_colour
from compressor.data.scene_phrases import VALUES, absent_neighbour, with_another
from compressor.data.scene_questions import SceneQuestions
from compressor.data.scenes import ScenesPairs
from compressor.recipe.data import ScenesData, Split
from tests.data.scene_answerer import COLOUR, NOUN, either

COLOURED = re.compile(rf"\b({either(COLOUR)}) ({either(NOUN)})\b")
RED_STAR = Scene((Shape("star", "red", "large", "plain"),), "snow", "alone")


def unseen_told(split: Split) -> int:
    """Questions of a split that name a kind in the colour that training never shows it in."""
    pairs = ScenesPairs(ScenesData(kind="scenes", train=800, val=200, test=10), split)
    found = 0
    for row in SceneQuestions(pairs, 10).rows:
        told = [(COLOUR[colour], NOUN[noun]) for colour, noun in COLOURED.findall(row.question)]
        shapes = [Shape(kind, colour, "small", "plain") for colour, kind in told if kind != "shape"]  # type: ignore[arg-type]
        found += any(in_unseen_colour(shape) for shape in shapes)
    return found


def test_no_training_question_names_an_unseen_pair_and_validation_asks_for_them() -> None:
    assert unseen_told("train") == 0
    assert unseen_told("val") > 15


@pytest.mark.parametrize("attribute", ["colour", "kind"])
def test_a_false_shape_is_one_that_training_may_show(attribute: str) -> None:
    assert not held_out(RED_STAR)
    told = {with_another(RED_STAR, RED_STAR.shapes[0], attribute, Dice(n)) for n in range(300)}  # type: ignore[arg-type]
    absent = {
        absent_neighbour(RED_STAR, RED_STAR.shapes[0], (attribute,), Dice(n))  # type: ignore[arg-type]
        for n in range(300)
    }
    assert None not in absent
    assert not any(in_unseen_colour(shape) for shape in told | absent if shape)
    # every other value is still told but the one
    assert len(told) == len(VALUES[attribute]) - 2  # type: ignore[index]
