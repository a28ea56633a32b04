"""Phrases that name shapes of a scene: which attributes single a shape out, and how they are worded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import combinations
from types import MappingProxyType
from typing import Literal

from compressor.data.randomness import Dice
from compressor.data.scene import COLOURS, KINDS, SIZES, TEXTURES, Scene, Shape, held_out, in_unseen_colour
from compressor.data.scene_grammar import (
    COLOUR_WORDS,
    KIND_WORDS,
    SIZE_WORDS,
    TEXTURE_AFTER,
    TEXTURE_BEFORE,
)

Attribute = Literal["size", "texture", "colour", "kind"]

VALUES: Mapping[Attribute, tuple[str, ...]] = MappingProxyType(
    {"size": SIZES, "texture": TEXTURES, "colour": COLOURS, "kind": KINDS}
)
_SETS: tuple[tuple[Attribute, ...], ...] = tuple(
    chosen for count in range(len(VALUES) + 1) for chosen in combinations(VALUES, count)
)


def value_of(shape: Shape, attribute: Attribute) -> str:
    return str(getattr(shape, attribute))


def matching(scene: Scene, model: Shape, attributes: Collection[Attribute]) -> list[Shape]:
    """The shapes of the scene that agree with `model` in all of `attributes`."""
    return [
        shape
        for shape in scene.shapes
        if all(value_of(shape, attribute) == value_of(model, attribute) for attribute in attributes)
    ]


def some_attributes(dice: Dice, most: int = len(VALUES)) -> tuple[Attribute, ...]:
    """From one to `most` attributes."""
    return dice.choose([chosen for chosen in _SETS if 1 <= len(chosen) <= most])


def singling_out(
    scene: Scene, shape: Shape, dice: Dice, without: Attribute | None = None
) -> tuple[Attribute, ...] | None:
    """Attributes that `shape` alone has in the scene, never `without`; None where there are no such."""
    possible = [
        chosen for chosen in _SETS if without not in chosen and len(matching(scene, shape, chosen)) == 1
    ]
    return dice.choose(possible) if possible else None


def with_another(scene: Scene, shape: Shape, attribute: Attribute, dice: Dice) -> Shape:
    """The shape of the scene with another value of one attribute."""
    return dice.choose(_others(scene, shape, attribute))


def absent_neighbour(
    scene: Scene, shape: Shape, attributes: Collection[Attribute], dice: Dice
) -> Shape | None:
    """The shape with another value of one attribute, so that none of the scene agrees in all of `attributes`.

    None where the scene has shapes of all values.
    """
    absent = [
        [other for other in _others(scene, shape, attribute) if not matching(scene, other, attributes)]
        for attribute in attributes
    ]
    possible = [others for others in absent if others]
    return dice.choose(dice.choose(possible)) if possible else None


def _others(scene: Scene, shape: Shape, attribute: Attribute) -> list[Shape]:
    """The shape with each other value. Unseen colours are told of only where such are drawn: in training they
    would always be false, and teach to answer "no" to those very words."""
    facts = {name: value_of(shape, name) for name in VALUES}
    others = [
        Shape(**{**facts, attribute: value})  # type: ignore[arg-type]
        for value in VALUES[attribute]
        if value != facts[attribute]
    ]
    return others if held_out(scene) else [other for other in others if not in_unseen_colour(other)]


def phrase(shape: Shape, attributes: Collection[Attribute], dice: Dice, plural: bool = False) -> str:
    """A noun phrase without article: "large striped star", "red shapes with dots"."""
    words: list[str] = []
    tail: list[str] = []
    if "size" in attributes:
        words.append(dice.choose(SIZE_WORDS[shape.size]))
    if "texture" in attributes:
        if dice.chance(0.75):
            words.append(dice.choose(TEXTURE_BEFORE[shape.texture]))
        else:
            tail.append(dice.choose(TEXTURE_AFTER[shape.texture]))
    if "colour" in attributes:
        words.append(word_for("colour", shape.colour, dice))
    noun = word_for("kind", shape.kind, dice) if "kind" in attributes else "shape"
    words.append(_plural(noun) if plural else noun)
    return " ".join(words + tail)


def word_for(attribute: Attribute, value: str, dice: Dice) -> str:
    """A word for the value: itself where it has no synonyms."""
    synonyms = {
        "size": SIZE_WORDS,
        "texture": TEXTURE_BEFORE,
        "colour": COLOUR_WORDS,
        "kind": KIND_WORDS,
    }[attribute]
    return dice.choose(synonyms.get(value, (value,)))


def indefinite(words: str) -> str:
    """With its article: "a star", "an orange star"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _plural(noun: str) -> str:
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"
