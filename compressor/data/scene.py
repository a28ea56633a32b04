"""What a drawn scene consists of, and which combinations training never shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from compressor.data.randomness import Dice, keyed_integer
from compressor.recipe.data import Split

Kind = Literal["circle", "square", "triangle", "star", "ring", "cross", "heart", "diamond"]
Colour = Literal["red", "orange", "yellow", "green", "blue", "purple", "pink", "white"]
Size = Literal["small", "medium", "large"]
Texture = Literal["plain", "striped", "dotted", "checkered"]
Background = Literal["snow", "grass", "sand", "night sky", "sea", "brick wall"]
Relation = Literal["alone", "left of", "above", "inside"]
Side = Literal["left", "right", "above", "below"]

KINDS: tuple[Kind, ...] = get_args(Kind)
COLOURS: tuple[Colour, ...] = get_args(Colour)
SIZES: tuple[Size, ...] = get_args(Size)
TEXTURES: tuple[Texture, ...] = get_args(Texture)
BACKGROUNDS: tuple[Background, ...] = get_args(Background)
RELATIONS: tuple[Relation, ...] = get_args(Relation)


@dataclass(frozen=True, slots=True)
class Shape:
    """One drawn thing."""

    kind: Kind
    colour: Colour
    size: Size
    texture: Texture


@dataclass(frozen=True, slots=True)
class Scene:
    """One to three shapes on a background.

    `relation` holds between the first shape and the second ("alone" when there is only one). `third` is the
    side of the first two on which a third shape lies. Shapes of one scene differ in their (kind, colour), so
    that "the red star" names one of them. Two scenes that are equal are the same picture up to where exactly
    things stand.
    """

    shapes: tuple[Shape, ...]
    background: Background
    relation: Relation
    third: Side | None = None

    @property
    def count(self) -> int:
        return len(self.shapes)


def held_out(scene: Scene) -> bool:
    """True when the scene holds a combination that no training scene holds.

    Each kind has one colour and one background that training never shows it in; every colour and every
    background is seen with the other kinds.
    """
    background = BACKGROUNDS.index(scene.background)
    return any(
        in_unseen_colour(shape) or background == (5 * KINDS.index(shape.kind) + 2) % len(BACKGROUNDS)
        for shape in scene.shapes
    )


def in_unseen_colour(shape: Shape) -> bool:
    """True when training never shows the shape's kind in its colour."""
    return COLOURS.index(shape.colour) == (3 * KINDS.index(shape.kind) + 1) % len(COLOURS)


def home_split(scene: Scene) -> Split:
    """The one split that a scene may appear in, whatever the seed: no test scene is ever a training scene.

    Held-out scenes are shared between val and test; of all others 80 % belong to train, 10 % to val and to
    test.
    """
    parts: list[str] = [scene.background, scene.relation, str(scene.third)]
    for shape in scene.shapes:
        parts += [shape.kind, shape.colour, shape.size, shape.texture]
    draw = keyed_integer("home", *parts) % 10
    if held_out(scene):
        return "val" if draw < 5 else "test"
    return "val" if draw == 0 else "test" if draw == 1 else "train"


def draw_scene(dice: Dice) -> Scene:
    """A scene with uniformly chosen attributes, of any split."""
    count = dice.choose((1, 1, 1, 2, 2, 2, 2, 3, 3, 3))
    background = dice.choose(BACKGROUNDS)
    relation: Relation = "alone"
    third: Side | None = None
    sizes: list[Size] = [dice.choose(SIZES) for _ in range(count)]
    if count == 2:
        relation = dice.choose(("left of", "left of", "above", "above", "inside"))
        if relation == "inside":
            sizes = ["small", "large"]
    elif count == 3:
        # The third shape lies across the line of the first two, so that all three fit at any size.
        relation = dice.choose(("left of", "above"))
        sides: tuple[Side, Side] = ("above", "below") if relation == "left of" else ("left", "right")
        third = dice.choose(sides)
    shapes: list[Shape] = []
    for size in sizes:
        kind, colour = dice.choose(KINDS), dice.choose(COLOURS)
        while any(_confusable(kind, colour, other, relation) for other in shapes):
            kind, colour = dice.choose(KINDS), dice.choose(COLOURS)
        texture = "plain" if dice.chance(0.4) else dice.choose(TEXTURES[1:])
        shapes.append(Shape(kind, colour, size, texture))
    return Scene(tuple(shapes), background, relation, third)


def _confusable(kind: Kind, colour: Colour, other: Shape, relation: Relation) -> bool:
    # A shape inside another of its own colour would hardly be seen.
    return other.colour == colour and (other.kind == kind or relation == "inside")
