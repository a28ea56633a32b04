"""Five differently worded captions of a scene, by a small grammar of synonyms and orders of clauses."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from compressor.data.randomness import Dice
from compressor.data.scene import Background, Relation, Scene, Shape, Side

CAPTIONS = 5
COMPLETE_CAPTIONS = 2
"""The first two captions name every attribute of every shape, their relation and the background."""

Words = Mapping[str, tuple[str, ...]]

SIZE_WORDS: Words = MappingProxyType(
    {"small": ("small", "little", "tiny"), "medium": ("medium", "average"), "large": ("large", "big", "huge")}
)
COLOUR_WORDS: Words = MappingProxyType({"purple": ("purple", "violet")})
KIND_WORDS: Words = MappingProxyType(
    {
        "circle": ("circle", "disc"),
        "ring": ("ring", "hoop"),
        "cross": ("cross", "plus"),
        "diamond": ("diamond", "rhombus"),
    }
)
TEXTURE_BEFORE: Words = MappingProxyType(
    {
        "plain": ("plain", "solid"),
        "striped": ("striped", "stripy"),
        "dotted": ("dotted", "spotted"),
        "checkered": ("checkered", "checked"),
    }
)
TEXTURE_AFTER: Words = MappingProxyType(
    {
        "plain": ("in one tone",),
        "striped": ("with stripes",),
        "dotted": ("with dots", "with spots"),
        "checkered": ("with checks",),
    }
)
PLACE: Mapping[Background, tuple[str, ...]] = MappingProxyType(
    {
        "snow": ("in the snow", "on a snowy field", "on snow"),
        "grass": ("on grass", "in a meadow", "on a lawn"),
        "sand": ("on sand", "on a beach", "in the desert"),
        "night sky": ("in the night sky", "under the stars", "in a starry night"),
        "sea": ("on the sea", "at sea", "on the water"),
        "brick wall": ("on a brick wall", "against bricks", "on a wall of bricks"),
    }
)
FORWARD: Mapping[Relation, tuple[str, ...]] = MappingProxyType(
    {
        "left of": ("to the left of", "left of"),
        "above": ("above", "over"),
        "inside": ("inside", "within"),
    }
)
BACKWARD: Mapping[Relation, tuple[str, ...]] = MappingProxyType(
    {
        "left of": ("to the right of", "right of"),
        "above": ("below", "under", "beneath"),
        "inside": ("around", "surrounding"),
    }
)
THIRD: Mapping[Side, tuple[str, ...]] = MappingProxyType(
    {
        "left": ("to the left of both", "left of them"),
        "right": ("to the right of both", "right of them"),
        "above": ("above them", "over both"),
        "below": ("below them", "under both"),
    }
)
THIRD_FIRST: Mapping[Side, tuple[str, ...]] = MappingProxyType(
    {
        "left": ("on the left",),
        "right": ("on the right",),
        "above": ("at the top",),
        "below": ("at the bottom",),
    }
)
COUNT_WORDS: tuple[tuple[str, ...], ...] = (
    ("one shape", "a single shape"),
    ("two shapes", "a pair of shapes"),
    ("three shapes", "a group of three shapes"),
)


def captions(scene: Scene, dice: Dice) -> tuple[str, ...]:
    """Five different captions: two complete, one without sizes or textures, one without place, one gist."""
    place = dice.choose(PLACE[scene.background])
    statement = f"{_arrangement(scene, dice)} {place}"
    opening = dice.choose(("{0}, {1}", "{0} there is {1}", "a picture taken {0}: {1}"))
    inverted = opening.format(dice.choose(PLACE[scene.background]), _arrangement(scene, dice))
    without = dice.choose(("size", "texture"))
    sketch = f"{_arrangement(scene, dice, without)} {dice.choose(PLACE[scene.background])}"
    placeless = _arrangement(scene, dice)
    if placeless in statement or placeless in inverted:
        placeless = f"{dice.choose(('a drawing of', 'look at', 'we see'))} {placeless}"
    return statement, inverted, sketch, placeless, _gist(scene, dice)


def _arrangement(scene: Scene, dice: Dice, without: str | None = None) -> str:
    """The shapes with their relations; `without` leaves out the sizes or the textures."""
    things = [_thing(shape, dice, without) for shape in scene.shapes]
    if scene.count == 1:
        return things[0]
    if dice.chance(0.5):
        pair = f"{things[0]} {dice.choose(FORWARD[scene.relation])} {things[1]}"
    else:
        pair = f"{things[1]} {dice.choose(BACKWARD[scene.relation])} {things[0]}"
    if scene.third is None:
        return pair
    if dice.chance(0.7):
        return f"{pair}, {dice.choose(('and', 'with'))} {things[2]} {dice.choose(THIRD[scene.third])}"
    return f"{dice.choose(THIRD_FIRST[scene.third])} {things[2]}, then {pair}"


def _thing(shape: Shape, dice: Dice, without: str | None = None) -> str:
    """A noun phrase with its article: "a large striped red star" or "a large red star with stripes"."""
    words = [] if without == "size" else [dice.choose(SIZE_WORDS[shape.size])]
    tail: list[str] = []
    if without != "texture":
        if dice.chance(0.75):
            words.append(dice.choose(TEXTURE_BEFORE[shape.texture]))
        else:
            tail.append(dice.choose(TEXTURE_AFTER[shape.texture]))
    words.append(dice.choose(COLOUR_WORDS.get(shape.colour, (shape.colour,))))
    words.append(dice.choose(KIND_WORDS.get(shape.kind, (shape.kind,))))
    return _with_article(" ".join(words + tail))


def _with_article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _gist(scene: Scene, dice: Dice) -> str:
    """What someone says who only glanced: count and place, one shape of several, bare colours and kinds."""
    place, count = dice.choose(PLACE[scene.background]), dice.choose(COUNT_WORDS[scene.count - 1])
    way = dice.below(4)
    if way == 0:
        return dice.choose((f"{count} {place}", f"{place}, {count}"))
    bare = [f"{dice.choose(COLOUR_WORDS.get(s.colour, (s.colour,)))} {s.kind}" for s in scene.shapes]
    if way == 1:
        return f"{', '.join(bare)} {place}"
    if way == 2:
        return f"{count}: {' and '.join(_with_article(thing) for thing in bare)}"
    if scene.count == 1:
        return f"only {_with_article(bare[0])}"
    return f"{_thing(dice.choose(scene.shapes), dice)} among {count} {place}"
