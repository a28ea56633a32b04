"""Questions about scenes: one right answer each, by an answerer that reads the question and the drawing."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping

import pytest
from PIL import ImageChops

from compressor.data import scene_grammar as grammar
from compressor.data.randomness import Dice
from compressor.data.scene import BACKGROUNDS, COLOURS, KINDS, Scene, Shape, draw_scene
from compressor.data.scene_drawing import RADIUS, _centres
from compressor.data.scene_questions import (
    ANSWERS,
    MOST_QUESTIONS,
    QUESTION_TYPES,
    Question,
    SceneQuestions,
    scene_questions,
)
from compressor.data.scenes import ScenesPairs
from compressor.evaluate.vqa import vqa_accuracy
from compressor.evaluate.vqa_answers import normal_answer
from compressor.recipe.data import ScenesData


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


@pytest.fixture(scope="module")
def asked() -> list[tuple[Scene, tuple[Question, ...]]]:
    dice = Dice("asked")
    return [(scene, scene_questions(scene, dice, 8)) for scene in (draw_scene(dice) for _ in range(800))]


Asked = list[tuple[Scene, tuple[Question, ...]]]


def test_every_answer_is_the_only_right_one(asked: Asked) -> None:
    for scene, questions in asked:
        for question in questions:
            assert answer(scene, question.text) == question.answer, (question, scene)


def test_answers_come_from_the_closed_list_and_all_of_them_occur(asked: Asked) -> None:
    assert len(set(ANSWERS)) == len(ANSWERS)
    assert {question.answer for _, questions in asked for question in questions} == set(ANSWERS)


def test_answers_are_in_the_normal_form_of_vqa() -> None:
    assert [normal_answer(reply) for reply in ANSWERS] == list(ANSWERS)


def test_answers_fit_their_type(asked: Asked) -> None:
    answers: dict[str, set[str]] = defaultdict(set)
    for _, questions in asked:
        for question in questions:
            answers[question.type].add(question.answer)
    assert set(answers) == set(QUESTION_TYPES)
    assert answers["yes/no"] == {"yes", "no"}
    assert answers["count"] == {"0", "1", "2", "3"}
    assert answers["colour"] == set(COLOURS)
    assert answers["background"] == set(BACKGROUNDS)
    assert answers["relation"] == set(OPPOSITE)


def test_yes_and_no_are_equally_frequent_whatever_is_asked(asked: Asked) -> None:
    replies: dict[str, list[bool]] = defaultdict(list)
    for _, questions in asked:
        for question in questions:
            if question.type == "yes/no":
                form = "there" if re.match("is there|do you|does", question.text) else "is the"
                replies[form].append(question.answer == "yes")
                replies[f"{form}, {len(question.text.split())} words"].append(question.answer == "yes")
    assert len(replies["there"]) > 300
    for form, given in replies.items():
        # Four standard deviations of fair coins.
        assert abs(sum(given) - len(given) / 2) < 4 * (len(given) / 4) ** 0.5, form


def test_no_answer_to_any_type_is_a_safe_guess(asked: Asked) -> None:
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for _, questions in asked:
        for question in questions:
            answers[question.type][question.answer] += 1
    for kind, counted in answers.items():
        assert max(counted.values()) < 0.62 * sum(counted.values()), kind


def test_a_scene_is_asked_as_often_as_wanted_each_time_differently(asked: Asked) -> None:
    assert all(len({question.text for question in questions}) == 8 for _, questions in asked)
    dice = Dice("many")
    for count in (1, 2, MOST_QUESTIONS):
        for _ in range(30):
            questions = scene_questions(draw_scene(dice), dice, count, "s")
            assert len({question.text for question in questions}) == count
            assert [question.id for question in questions] == [f"s?{number}" for number in range(count)]


def test_few_types_are_repeated_before_all_were_there() -> None:
    dice = Dice("turns")
    pairs = [scene for scene in (draw_scene(dice) for _ in range(100)) if scene.count == 2]
    for scene in pairs:
        types = [question.type for question in scene_questions(scene, dice, 4)]
        assert len(set(types)) >= 3


def test_the_words_of_the_captions_are_all_used(asked: Asked) -> None:
    said = " ".join(question.text for _, questions in asked for question in questions)
    for word in [*SIZE, *BEFORE, *AFTER, *COLOUR, *KIND, *PLURAL, *TOWARDS, *EXTREME]:
        assert re.search(rf"\b{re.escape(word)}\b", said), f"{word!r} is never said"


@pytest.mark.parametrize("count", [0, -1, MOST_QUESTIONS + 1])
def test_an_impossible_number_of_questions_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"not {count}"):
        scene_questions(draw_scene(Dice("one")), Dice("two"), count)


def section(seed: int = 0, test: int = 12) -> ScenesData:
    return ScenesData(kind="scenes", seed=seed, image_size=32, train=20, val=5, test=test)


def test_a_split_asks_each_of_its_scenes_and_shows_its_picture() -> None:
    pairs = ScenesPairs(section(), "test")
    questions = SceneQuestions(pairs, per_scene=3)
    assert len(questions.rows) == 36
    assert len({row.id for row in questions.rows}) == 36
    assert questions.split == "test"
    for index, row in enumerate(questions.rows):
        assert row.image_id == pairs.rows[index // 3].id
        assert (answer(pairs.scene(index // 3), row.question),) == row.answers
        assert row.answer_type in ("yes/no", "number", "other")
        assert row.question_type in QUESTION_TYPES
    assert ImageChops.difference(questions.image(7), pairs.image(2)).getbbox() is None


def test_the_same_seed_asks_the_same_and_another_asks_otherwise() -> None:
    pairs = ScenesPairs(section(), "test")
    first, again, other = SceneQuestions(pairs), SceneQuestions(pairs), SceneQuestions(pairs, seed=1)
    assert (first.rows, first.fingerprint) == (again.rows, again.fingerprint)
    assert first.fingerprint != other.fingerprint
    assert [row.question for row in first.rows] != [row.question for row in other.rows]
    assert SceneQuestions(pairs, per_scene=2).fingerprint != first.fingerprint


def test_questions_stay_what_they_are() -> None:
    """Runs are compared over years: a change of these texts needs a good reason."""
    rows = SceneQuestions(ScenesPairs(section(), "test"), per_scene=2).rows[:3]
    assert [(row.id, row.question, row.answers[0]) for row in rows] == [
        ("scenes-0-test-000000?0", "where are they?", "grass"),
        ("scenes-0-test-000000?1", "what pattern does the plus have?", "dotted"),
        ("scenes-0-test-000001?0", "what pattern does the small shape have?", "checkered"),
    ]


def test_a_larger_split_asks_the_smaller_ones_questions_first() -> None:
    small = SceneQuestions(ScenesPairs(section(test=3), "test"))
    large = SceneQuestions(ScenesPairs(section(test=6), "test"))
    assert list(large.rows[: len(small.rows)]) == list(small.rows)


def test_true_answers_score_in_full_and_the_opposite_scores_nothing() -> None:
    rows = SceneQuestions(ScenesPairs(section(), "test")).rows
    assert vqa_accuracy({row.id: row.answers[0] for row in rows}, rows).overall.accuracy == 100.0
    assert vqa_accuracy({row.id: "maybe" for row in rows}, rows).overall.accuracy == 0.0
