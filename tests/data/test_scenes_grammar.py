"""Captions of scenes: different from each other, and complete where they promise to be."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

import pytest

from compressor.data import scene_grammar as grammar
from compressor.data.randomness import Dice
from compressor.data.scene import COLOURS, KINDS, Scene, Shape, draw_scene
from compressor.data.scene_grammar import COMPLETE_CAPTIONS, captions


def meaning(words: Mapping[str, tuple[str, ...]], values: tuple[str, ...] = ()) -> dict[str, str]:
    """Word -> attribute value; every word means one value only."""
    pairs = [(word, value) for value, synonyms in words.items() for word in synonyms]
    pairs += [(value, value) for value in values if value not in words]
    assert max(Counter(word for word, _ in pairs).values()) == 1
    return dict(pairs)


SIZE = meaning(grammar.SIZE_WORDS)
COLOUR = meaning(grammar.COLOUR_WORDS, COLOURS)
KIND = meaning(grammar.KIND_WORDS, KINDS)
TEXTURE = meaning(grammar.TEXTURE_BEFORE) | meaning(grammar.TEXTURE_AFTER)
PLACE = meaning(grammar.PLACE)
FORWARD, BACKWARD = meaning(grammar.FORWARD), meaning(grammar.BACKWARD)
THIRD, THIRD_FIRST = meaning(grammar.THIRD), meaning(grammar.THIRD_FIRST)


def either(words: dict[str, str]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


THING = re.compile(
    rf"\ban? ({either(SIZE)}) (?:({either(meaning(grammar.TEXTURE_BEFORE))}) )?"
    rf"({either(COLOUR)}) ({either(KIND)})\b"
    rf"(?: ({either(meaning(grammar.TEXTURE_AFTER))})\b)?"
)


def parse(caption: str) -> Scene:
    """The scene that a complete caption describes: the grammar read backwards."""
    shapes: list[Shape] = []

    def number(match: re.Match[str]) -> str:
        size, before, colour, kind, after = match.groups()
        assert (before is None) != (after is None)
        shapes.append(Shape(KIND[kind], COLOUR[colour], SIZE[size], TEXTURE[before or after]))  # type: ignore[arg-type]
        return f"<{len(shapes) - 1}>"

    text = THING.sub(number, caption)
    places = [place for place in PLACE if re.search(rf"\b{re.escape(place)}\b", text)]
    place = max(places, key=len)
    text = re.sub(rf"\b{re.escape(place)}\b", "", text)
    for filler in ("a picture taken", "there is", ":"):
        text = text.replace(filler, "")
    text = " ".join(text.split()).strip(", ")
    background = PLACE[place]
    if text == "<0>":
        return Scene(tuple(shapes), background, "alone")  # type: ignore[arg-type]
    third = None
    if match := re.fullmatch(rf"({either(THIRD_FIRST)}) <0>, then <1> (.*) <2>", text):
        third, order = THIRD_FIRST[match[1]], [1, 2, 0]
        relation = match[2]
    elif match := re.fullmatch(rf"<0> (.*) <1>, (?:and|with) <2> ({either(THIRD)})", text):
        third, order = THIRD[match[2]], [0, 1, 2]
        relation = match[1]
    else:
        match = re.fullmatch(r"<0> (.*) <1>", text)
        assert match is not None, f"cannot read {caption!r}: {text!r}"
        relation, order = match[1], [0, 1]
    if relation in BACKWARD:
        order[0], order[1] = order[1], order[0]
    name = FORWARD.get(relation) or BACKWARD[relation]
    return Scene(tuple(shapes[k] for k in order), background, name, third)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def described() -> list[tuple[Scene, tuple[str, ...]]]:
    dice = Dice("grammar")
    return [(scene, captions(scene, dice)) for scene in (draw_scene(dice) for _ in range(600))]


def test_two_of_the_five_captions_say_everything(described: list[tuple[Scene, tuple[str, ...]]]) -> None:
    assert COMPLETE_CAPTIONS == 2
    for scene, texts in described:
        for text in texts[:COMPLETE_CAPTIONS]:
            assert parse(text) == scene, text


def test_the_five_captions_of_a_scene_differ(described: list[tuple[Scene, tuple[str, ...]]]) -> None:
    assert all(len(set(texts)) == len(texts) == 5 for _, texts in described)


def test_the_third_leaves_out_sizes_or_textures_and_the_fourth_the_place(
    described: list[tuple[Scene, tuple[str, ...]]],
) -> None:
    place = re.compile(rf"\b(?:{either(PLACE)})\b")
    sizes, textures = re.compile(rf"\b(?:{either(SIZE)})\b"), re.compile(rf"\b(?:{either(TEXTURE)})\b")
    for _, texts in described:
        assert bool(sizes.search(texts[2])) != bool(textures.search(texts[2]))
        assert place.search(texts[2])
        assert not place.search(texts[3])
        assert sizes.search(texts[3])
        assert textures.search(texts[3])


def test_some_captions_mention_only_a_place_and_a_count(
    described: list[tuple[Scene, tuple[str, ...]]],
) -> None:
    kinds = re.compile(rf"\b(?:{either(KIND)})\b")
    vague = [texts[4] for _, texts in described if not kinds.search(texts[4])]
    assert 0.1 < len(vague) / len(described) < 0.4
    assert all(re.search(rf"\b(?:{either(PLACE)})\b", text) for text in vague)
    counts = {word: k + 1 for k, words in enumerate(grammar.COUNT_WORDS) for word in words}
    for scene, texts in described:
        told = [count for word, count in counts.items() if re.search(rf"\b{word}\b", texts[4])]
        assert all(count == scene.count for count in told)


def test_wording_varies(described: list[tuple[Scene, tuple[str, ...]]]) -> None:
    said = " ".join(text for _, texts in described for text in texts)
    for word in [*SIZE, *COLOUR, *KIND, *TEXTURE, *PLACE, *FORWARD, *BACKWARD, *THIRD, *THIRD_FIRST]:
        assert re.search(rf"\b{re.escape(word)}\b", said), f"{word!r} is never said"


def test_articles_fit_the_next_word(described: list[tuple[Scene, tuple[str, ...]]]) -> None:
    for _, texts in described:
        for text in texts:
            assert not re.search(r"\ba [aeio]|\ban [^aeio]", text), text


def test_captions_are_short() -> None:
    dice = Dice("length")
    texts = [text for _ in range(300) for text in captions(draw_scene(dice), dice)]
    assert max(len(re.findall(r"\w+|[^\w\s]", text)) for text in texts) <= 40
