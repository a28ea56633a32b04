"""Answers questions about scenes by reading the question and looking at the drawing."""

from __future__ import annotations

import re
from collections.abc import Mapping

from compressor.data import scene_grammar as grammar
from compressor.data.randomness import Dice
from compressor.data.scene import COLOURS, KINDS, Scene, Shape
from compressor.data.scene_drawing import RADIUS, _centres


def meaning(words: Mapping[str, tuple[str, ...]], values: tuple[str, ...] = ()) -> dict[str, str]:
    """Word -> attribute value."""
    own = {value: value for value in values if value not in words}
    return own | {word: value for value, synonyms in words.items() for word in synonyms}


def either(words: Mapping[str, str]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


SIZE, COLOUR = meaning(grammar.SIZE_WORDS), meaning(grammar.COLOUR_WORDS, COLOURS)
BEFORE, AFTER = meaning(grammar.TEXTURE_BEFORE), meaning(grammar.TEXTURE_AFTER)
KIND = meaning(grammar.KIND_WORDS, KINDS)
PLURAL = {"shapes": "shape"} | {
    word + ("es" if word[-1] == "s" else "s"): kind for word, kind in KIND.items()
}
NOUN = {"shape": "shape"} | KIND | PLURAL
TOWARDS = {"right of": "right", "left of": "left", "above": "above", "below": "below"}
TOWARDS |= {"inside": "inside", "around": "around"}
TOWARDS |= {"to the left of": "left", "to the right of": "right", "over": "above", "under": "below"}
TOWARDS |= {"beneath": "below", "within": "inside", "surrounding": "around"}
EXTREME = {"on the left": "left", "on the right": "right", "at the top": "above", "at the bottom": "below"}
OPPOSITE = {"left": "right", "above": "below", "inside": "around"}
OPPOSITE |= {second: first for first, second in OPPOSITE.items()}

PHRASE = (
    rf"(?:(?:{either(SIZE)}) )?(?:(?:{either(BEFORE)}) )?(?:(?:{either(COLOUR)}) )?"
    rf"(?:{either(NOUN)})(?: (?:{either(AFTER)}))?"
)
PARTS = re.compile(
    rf"(?:({either(SIZE)}) )?(?:({either(BEFORE)}) )?(?:({either(COLOUR)}) )?"
    rf"({either(NOUN)})(?: ({either(AFTER)}))?"
)


def described(scene: Scene, phrase: str) -> list[int]:
    """The shapes that a noun phrase fits."""
    match = PARTS.fullmatch(phrase)
    assert match is not None, phrase
    size, before, colour, noun, after = match.groups()
    kind, texture = NOUN[noun], BEFORE.get(before) or AFTER.get(after)
    return [
        number
        for number, shape in enumerate(scene.shapes)
        if (size is None or shape.size == SIZE[size])
        and (colour is None or shape.colour == COLOUR[colour])
        and (texture is None or shape.texture == texture)
        and kind in ("shape", shape.kind)
    ]


def the_one(scene: Scene, phrase: str) -> int:
    found = described(scene, phrase)
    assert len(found) == 1, f"{phrase!r} names {len(found)} shapes of {scene}"
    return found[0]


def lies(scene: Scene, one: int, direction: str, other: int) -> bool:
    """True or false in every drawing of the scene; an ambiguous one fails."""
    told = set()
    for number in range(8):
        centres = _centres(scene, Dice("drawing", number))
        (x, y), (other_x, other_y) = centres[one], centres[other]
        inner = RADIUS[scene.shapes[one].size], RADIUS[scene.shapes[other].size]
        nested = (x, y) == (other_x, other_y)
        told.add(
            {
                "left": x < other_x,
                "right": x > other_x,
                "above": y < other_y,
                "below": y > other_y,
                "inside": nested and inner[0] < inner[1],
                "around": nested and inner[0] > inner[1],
            }[direction]
        )
    assert len(told) == 1, f"{direction} depends on the drawing of {scene}"
    return told.pop()


def outermost(scene: Scene, side: str) -> list[int]:
    """The shapes that lie furthest to one side in some drawing."""
    found = set()
    for number in range(8):
        centres = _centres(scene, Dice("drawing", number))
        reach = [{"left": -x, "right": x, "above": -y, "below": y}[side] for x, y in centres]
        found.add(reach.index(max(reach)))
    return sorted(found)


def answer(scene: Scene, text: str) -> str:
    """Brute force: every way to read the question is tried, and each must lead to the same answer."""
    found = {reply for reply in (reader(scene, text) for reader in READERS) if reply is not None}
    assert len(found) == 1, f"{text!r} has the answers {found} in {scene}"
    return found.pop()


def read_attribute(scene: Scene, text: str) -> str | None:
    for attribute, form in (
        ("colour", rf"(?:what|which) colour is the ({PHRASE})\?|what colour does the ({PHRASE}) have\?"),
        (
            "texture",
            rf"what pattern does the ({PHRASE}) have\?|which pattern is on the ({PHRASE})\?|"
            rf"how is the ({PHRASE}) filled\?",
        ),
        ("kind", rf"what is the ({PHRASE})\?|(?:what|which) kind of shape is the ({PHRASE})\?"),
    ):
        if match := re.fullmatch(form, text):
            phrase = next(group for group in match.groups() if group)
            shape: Shape = scene.shapes[the_one(scene, phrase)]
            value = str(getattr(shape, attribute))
            words = {"colour": COLOUR, "texture": BEFORE | AFTER, "kind": KIND}[attribute]
            assert not any(re.search(rf"\b{re.escape(word)}\b", phrase) for word in words)
            return value
    return None


def read_place(scene: Scene, text: str) -> str | None:
    match = re.fullmatch(r"(?:what shape is|which shape lies|which shape do you see) (.*)\?", text)
    if match is None:
        return None
    everyone = range(scene.count)
    if match[1] in EXTREME:
        found = outermost(scene, EXTREME[match[1]])
    else:
        near = re.fullmatch(rf"({either(TOWARDS)}) the ({PHRASE})", match[1])
        assert near is not None, text
        other = the_one(scene, near[2])
        found = [k for k in everyone if k != other and lies(scene, k, TOWARDS[near[1]], other)]
    assert len(found) == 1, text
    return scene.shapes[found[0]].kind


def read_count(scene: Scene, text: str) -> str | None:
    match = re.fullmatch(rf"(?:how many ({PHRASE}) (?:are there|do you see)\?|count the ({PHRASE}))", text)
    if match is None:
        return None
    phrase = match[1] or match[2]
    assert any(word in PLURAL for word in phrase.split())
    return str(len(described(scene, phrase)))


def read_background(scene: Scene, text: str) -> str | None:
    several = scene.count > 1
    be, they, shapes = ("are", "they", "shapes") if several else ("is", "it", "shape")
    asked = {f"where {be} {they}?", f"where {be} the {shapes}?", f"what is behind the {shapes}?"}
    asked |= {"what is the background?", "what is in the background?", "where was this picture taken?"}
    return scene.background if text in asked else None


def read_choice(scene: Scene, text: str) -> str | None:
    match = re.fullmatch(
        rf"(?:is the ({PHRASE})|where is the ({PHRASE}),) "
        rf"({either(TOWARDS)}) or ({either(TOWARDS)}) the ({PHRASE})\?",
        text,
    )
    if match is None:
        return None
    one, other = the_one(scene, match[1] or match[2]), the_one(scene, match[5])
    assert one != other
    choices = {TOWARDS[match[3]], TOWARDS[match[4]]}
    assert choices == {TOWARDS[match[3]], OPPOSITE[TOWARDS[match[3]]]}
    found = [choice for choice in choices if lies(scene, one, choice, other)]
    assert len(found) == 1, text
    return found[0]


def read_existence(scene: Scene, text: str) -> str | None:
    match = re.fullmatch(rf"(?:is there|do you see|does the picture show) (an?) ({PHRASE})\?", text)
    if match is None:
        return None
    assert (match[1] == "an") == (match[2][0] in "aeiou")
    return "yes" if described(scene, match[2]) else "no"


def read_property(scene: Scene, text: str) -> str | None:
    words = SIZE | BEFORE | COLOUR
    match = re.fullmatch(rf"is the ({PHRASE}) (?:({either(words)})|an? ({either(KIND)}))\?", text)
    if match is None:
        return None
    shape = scene.shapes[the_one(scene, match[1])]
    true = {shape.size, shape.texture, shape.colour}
    return "yes" if (words[match[2]] in true if match[2] else KIND[match[3]] == shape.kind) else "no"


def read_direction(scene: Scene, text: str) -> str | None:
    match = re.fullmatch(rf"is the ({PHRASE}) ({either(TOWARDS)}) the ({PHRASE})\?", text)
    if match is None:
        return None
    one, direction, other = the_one(scene, match[1]), TOWARDS[match[2]], the_one(scene, match[3])
    if lies(scene, one, direction, other):
        return "yes"
    assert lies(scene, one, OPPOSITE[direction], other), f"{text!r} is not clearly false"
    return "no"


READERS = (
    read_attribute,
    read_place,
    read_count,
    read_background,
    read_choice,
    read_existence,
    read_property,
    read_direction,
)
