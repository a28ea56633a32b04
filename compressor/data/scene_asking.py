"""How a drawn scene is asked: for each type of question a text and the answer that the attributes decide.

Words are those of the captions (`scene_grammar`). A question speaks of "the star" only where exactly one
shape of the scene is meant, and asks for a direction only along the axis on which the drawing parts the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

from compressor.data.randomness import Dice
from compressor.data.scene import Relation, Scene, Shape, Side
from compressor.data.scene_grammar import BACKWARD, FORWARD, THIRD_FIRST
from compressor.data.scene_phrases import (
    Attribute,
    absent_neighbour,
    indefinite,
    matching,
    phrase,
    singling_out,
    some_attributes,
    value_of,
    with_another,
    word_for,
)

QuestionType = Literal["colour", "count", "kind", "texture", "background", "yes/no", "relation"]

DIRECTIONS: Mapping[Relation, tuple[str, str]] = MappingProxyType(
    {"left of": ("left", "right"), "above": ("above", "below"), "inside": ("inside", "around")}
)
"""Where the first of two related shapes lies, and where the second."""

Asked = tuple[str, str]
"""A question and its answer."""


def _colour(scene: Scene, dice: Dice) -> Asked | None:
    return _asked_of_one(
        scene, dice, "colour", ("what colour is {0}?", "which colour is {0}?", "what colour does {0} have?")
    )


def _texture(scene: Scene, dice: Dice) -> Asked | None:
    return _asked_of_one(
        scene,
        dice,
        "texture",
        ("what pattern does {0} have?", "which pattern is on {0}?", "how is {0} filled?"),
    )


def _asked_of_one(scene: Scene, dice: Dice, attribute: Attribute, wordings: tuple[str, ...]) -> Asked | None:
    """A question for an attribute of a shape that the other attributes single out."""
    shape = dice.choose(scene.shapes)
    named = singling_out(scene, shape, dice, without=attribute)
    if named is None:
        return None
    text = dice.choose(wordings).format(f"the {phrase(shape, named, dice)}")
    return text, value_of(shape, attribute)


def _kind(scene: Scene, dice: Dice) -> Asked | None:
    """What a shape is, told by its looks or by where it lies."""
    by_place = _kind_by_place(scene, dice) if dice.chance(0.5) else None
    wordings = ("what is {0}?", "what kind of shape is {0}?", "which kind of shape is {0}?")
    return by_place or _asked_of_one(scene, dice, "kind", wordings)


def _kind_by_place(scene: Scene, dice: Dice) -> Asked | None:
    wording = dice.choose(("what shape is {0}?", "which shape lies {0}?", "which shape do you see {0}?"))
    if scene.third is not None:
        # Only the third shape has a place of its own: which of the first two is further out is left open.
        return wording.format(dice.choose(THIRD_FIRST[scene.third])), scene.shapes[2].kind
    if scene.count == 1:
        return None
    asked = dice.below(2)
    other = scene.shapes[1 - asked]
    words = (FORWARD if asked == 0 else BACKWARD)[scene.relation]
    place = f"{dice.choose(words)} {_definite(scene, other, dice)}"
    return wording.format(place), scene.shapes[asked].kind


def _count(scene: Scene, dice: Dice) -> Asked:
    wording = dice.choose(("how many {0} are there?", "how many {0} do you see?", "count the {0}"))
    if dice.chance(0.35):
        return wording.format("shapes"), str(scene.count)
    attributes = some_attributes(dice, most=2)
    model = dice.choose(scene.shapes)
    if dice.chance(0.3):
        model = with_another(scene, model, dice.choose(attributes), dice)
    counted = phrase(model, attributes, dice, plural=True)
    return wording.format(counted), str(len(matching(scene, model, attributes)))


def _background(scene: Scene, dice: Dice) -> Asked:
    are, they, shapes = ("is", "it", "shape") if scene.count == 1 else ("are", "they", "shapes")
    wordings = (
        f"where {are} {they}?",
        f"where {are} the {shapes}?",
        f"what is behind the {shapes}?",
        "what is the background?",
        "what is in the background?",
        "where was this picture taken?",
    )
    return dice.choose(wordings), scene.background


def _relation(scene: Scene, dice: Dice) -> Asked | None:
    """Which of the two directions of an axis, the two named in random order."""
    if scene.count == 1:
        return None
    shape, other, directions, answer = _placed_pair(scene, dice)
    one, two = directions if dice.chance(0.5) else directions[::-1]
    named, beside = _definite(scene, shape, dice), _definite(scene, other, dice)
    told = {"left": "left of", "right": "right of"}
    text = dice.choose(
        (
            f"is {named} {told.get(one, one)} or {told.get(two, two)} {beside}?",
            f"where is {named}, {told.get(one, one)} or {told.get(two, two)} {beside}?",
        )
    )
    return text, answer


def _yes_or_no(scene: Scene, dice: Dice) -> Asked:
    """A statement that is true in one half of all cases, whatever it is about."""
    truth = dice.chance(0.5)
    makers = [_existence, _property] if scene.count == 1 else [_existence, _property, _direction]
    text = dice.choose(makers)(scene, truth, dice)
    return text or _existence(scene, truth, dice), "yes" if truth else "no"


def _existence(scene: Scene, truth: bool, dice: Dice) -> str:
    """A false one tells of a shape that differs in one attribute from one that is there."""
    told = None
    while told is None:
        attributes, shape = some_attributes(dice), dice.choose(scene.shapes)
        told = shape if truth else absent_neighbour(scene, shape, attributes, dice)
    wording = dice.choose(("is there {0}?", "do you see {0}?", "does the picture show {0}?"))
    return wording.format(indefinite(phrase(told, attributes, dice)))


def _property(scene: Scene, truth: bool, dice: Dice) -> str | None:
    shape = dice.choose(scene.shapes)
    attribute: Attribute = dice.choose(("size", "texture", "colour", "kind"))
    named = singling_out(scene, shape, dice, without=attribute)
    if named is None:
        return None
    told = shape if truth else with_another(scene, shape, attribute, dice)
    word = word_for(attribute, value_of(told, attribute), dice)
    return f"is the {phrase(shape, named, dice)} {indefinite(word) if attribute == 'kind' else word}?"


def _direction(scene: Scene, truth: bool, dice: Dice) -> str:
    shape, other, directions, answer = _placed_pair(scene, dice)
    told = answer if truth else directions[1 - directions.index(answer)]
    words = dice.choose(_DIRECTION_WORDS[told])
    return f"is {_definite(scene, shape, dice)} {words} {_definite(scene, other, dice)}?"


def _placed_pair(scene: Scene, dice: Dice) -> tuple[Shape, Shape, tuple[str, str], str]:
    """Two shapes, the directions of the axis that separates them, and where the first one lies.

    The first two shapes are separated by their relation, the third from both by its side.
    """
    first, second = scene.shapes[:2]
    relation = scene.relation
    if scene.third is not None and dice.chance(0.5):
        second = dice.choose(scene.shapes[:2])
        first, relation, is_before = scene.shapes[2], *_AXIS_OF[scene.third]
        if not is_before:
            first, second = second, first
    directions = DIRECTIONS[relation]
    if dice.chance(0.5):
        return first, second, directions, directions[0]
    return second, first, directions, directions[1]


def _definite(scene: Scene, shape: Shape, dice: Dice) -> str:
    """The shape, named so that no other of the scene is meant."""
    named = singling_out(scene, shape, dice)
    assert named is not None, "shapes of one scene differ in their kind or colour"
    return f"the {phrase(shape, named, dice)}"


_AXIS_OF: Mapping[Side, tuple[Relation, bool]] = MappingProxyType(
    {
        "left": ("left of", True),
        "right": ("left of", False),
        "above": ("above", True),
        "below": ("above", False),
    }
)
"""The axis on which a third shape lies beside the others, and whether it comes first on it."""
_DIRECTION_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {pair[0]: FORWARD[relation] for relation, pair in DIRECTIONS.items()}
    | {pair[1]: BACKWARD[relation] for relation, pair in DIRECTIONS.items()}
)
MAKERS: Mapping[QuestionType, Callable[[Scene, Dice], Asked | None]] = MappingProxyType(
    {
        "colour": _colour,
        "count": _count,
        "kind": _kind,
        "texture": _texture,
        "background": _background,
        "yes/no": _yes_or_no,
        "relation": _relation,
    }
)
