"""Questions about scenes: one right answer each, by an answerer that reads the question and the drawing."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import pytest
from PIL import ImageChops

from compressor.data.randomness import Dice
from compressor.data.scene import BACKGROUNDS, COLOURS, Scene, draw_scene
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
from tests.data.scene_answerer import (
    AFTER,
    BEFORE,
    COLOUR,
    EXTREME,
    KIND,
    OPPOSITE,
    PLURAL,
    SIZE,
    TOWARDS,
    answer,
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
