"""VQA accuracy: the formula against its definition, the normal form against examples worked by hand."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.data.questions import QuestionRow
from compressor.errors import DataError, MissingResourceError
from compressor.evaluate.vqa import (
    Accuracy,
    accuracy_difference_interval,
    answer_accuracy,
    read_results,
    vqa_accuracy,
    write_results,
)
from compressor.evaluate.vqa_answers import normal_answer


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("Yes", "yes"),
        ("  two  dogs ", "2 dogs"),
        ("None", "0"),
        ("ten", "10"),
        ("eleven", "eleven"),
        ("someone", "someone"),
        ("The dog", "dog"),
        ("a", ""),
        ("an apple and the pear", "apple and pear"),
        ("theatre", "theatre"),
        ("dont know", "don't know"),
        ("don't know", "don't know"),
        ("Wont", "won't"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("couldntve", "couldntve"),
        ("oclock", "o'clock"),
        ("its", "its"),
        ("girl's", "girl's"),
        ("somebody'd", "somebodyd"),
        ("t-shirt", "t shirt"),
        ("black/white", "black white"),
        ("black / white", "black white"),
        ("black /white-ish", "black white ish"),
        ("yes, it is", "yes it is"),
        ("red,blue", "red blue"),
        ("1,000", "1000"),
        ("1,000-2,000", "10002000"),
        ("100,978 people!", "100978 people"),
        ("2:50 pm", "2:50 pm"),
        ("2.5", "2.5"),
        ("2.", "2"),
        ("yes.", "yes"),
        ("U.S.A.", "usa"),
        (".5", ".5"),
        ("what?", "what"),
        ("(left)", "left"),
        ('"stop"', "stop"),
        ("$5.00", "$5.00"),
        ("50%", "50%"),
        ("", ""),
        ("???", ""),
        ("caf\u00e9 \U0001f600", "caf\u00e9 \U0001f600"),
    ],
)
def test_the_normal_form_of_an_answer(answer: str, normal: str) -> None:
    assert normal_answer(answer) == normal


def ten_choose_nine(prediction: str, answers: list[str]) -> float:
    """The definition: every set of all people but one, min(those who agree / 3, 1), averaged."""
    if len(set(answers)) > 1:
        prediction, answers = normal_answer(prediction), [normal_answer(answer) for answer in answers]
    worth = []
    for people in itertools.combinations(range(len(answers)), len(answers) - 1):
        agreeing = 0
        for person in people:
            if answers[person] == prediction:
                agreeing += 1
        worth.append(min(agreeing / 3, 1.0))
    return sum(worth) / len(worth)


@pytest.mark.parametrize(
    ("agreeing", "worth"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (9, 1.0), (10, 1.0)]
)
def test_what_an_answer_of_ten_people_is_worth(agreeing: int, worth: float) -> None:
    answers = ["red"] * agreeing + ["blue"] * (10 - agreeing)
    assert answer_accuracy("red", answers) == pytest.approx(worth, abs=1e-15)


ANSWERS = st.sampled_from(["yes", "Yes", "no", "two", "2", "the dog", "dog", "dog."])


@given(ANSWERS, st.lists(ANSWERS, min_size=4, max_size=10))
def test_the_formula_is_its_definition(prediction: str, answers: list[str]) -> None:
    assert answer_accuracy(prediction, answers) == pytest.approx(
        ten_choose_nine(prediction, answers), abs=1e-12
    )


def test_where_all_people_wrote_the_same_the_answer_is_compared_as_written() -> None:
    assert answer_accuracy("Yes", ["yes"] * 10) == 0.0
    assert answer_accuracy(" yes\n", ["yes"] * 10) == 1.0
    assert answer_accuracy("Yes!", ["yes"] * 9 + ["no"]) == 1.0
    assert answer_accuracy("the end", ["the end"] * 10) == 1.0


def test_a_single_true_answer_is_right_or_wrong() -> None:
    assert answer_accuracy("A Heart.", ["heart"]) == 1.0
    assert answer_accuracy("three", ["3"]) == 1.0
    assert answer_accuracy("star", ["heart"]) == 0.0


@pytest.mark.parametrize("answers", [[], ["a", "b"], ["a", "b", "c"]])
def test_answers_that_the_formula_cannot_score_are_refused(answers: list[str]) -> None:
    with pytest.raises(DataError, match=f"{len(answers)} answers to a question cannot be scored"):
        answer_accuracy("a", answers)


ROWS = [
    QuestionRow("1", "cat", "?", ("yes",) * 9 + ("no",), "yes/no", "is the"),
    QuestionRow("2", "cat", "?", ("2",) * 2 + ("3",) * 8, "number", "how many"),
    QuestionRow("3", "dog", "?", ("red",) * 5 + ("blue",) * 5, "other", "what color"),
    QuestionRow("4", "dog", "?", ("no",) * 5 + ("yes",) * 5, "yes/no", "is it"),
]


def test_accuracies_by_answer_type_and_question_type() -> None:
    scores = vqa_accuracy({"4": "maybe", "3": "blue", "2": "two", "1": "yes"}, ROWS)
    assert scores.accuracies == pytest.approx([100.0, 60.0, 100.0, 0.0])
    assert scores.overall == Accuracy(65.0, 4)
    assert {
        name: (round(found.accuracy, 9), found.questions) for name, found in scores.by_answer_type.items()
    } == {
        "number": (60.0, 1),
        "other": (100.0, 1),
        "yes/no": (50.0, 2),
    }
    assert set(scores.by_question_type) == {"is the", "how many", "what color", "is it"}


def test_the_interval_draws_images_and_not_questions() -> None:
    rows = [QuestionRow(f"{k}", f"{k // 25}", "?", ("yes",)) for k in range(100)]
    # Whole images are right or wrong, so that only four coins are thrown and not a hundred.
    together = vqa_accuracy({f"{k}": "yes" if k // 25 < 2 else "no" for k in range(100)}, rows)
    apart = vqa_accuracy(
        {f"{k}": "yes" if k % 2 else "no" for k in range(100)},
        [QuestionRow(f"{k}", f"{k}", "?", ("yes",)) for k in range(100)],
    )
    wide, narrow = together.interval(400), apart.interval(400)
    assert wide is not None
    assert narrow is not None
    assert (wide.low, wide.high) == (0.0, 100.0)
    assert 37 < narrow.low < 45
    assert 55 < narrow.high < 63
    assert together.interval(400) == wide
    assert together.interval(0) is None


def test_images_count_with_all_their_questions() -> None:
    """The resampled figure is a mean over questions, not over images."""
    rows = [
        QuestionRow(f"{image}.{number}", f"{image}", "?", ("yes",))
        for image in range(100)
        for number in range(9 if image < 50 else 1)
    ]
    answers = {row.id: "yes" if int(row.image_id) < 50 else "no" for row in rows}
    scores = vqa_accuracy(answers, rows)
    interval = scores.interval(300)
    assert interval is not None
    assert scores.overall.accuracy == pytest.approx(90.0)
    assert scores.overall.questions == 500
    assert 83 < interval.low < 90 < interval.high < 95


def test_two_models_are_compared_on_the_same_images() -> None:
    rows = [QuestionRow(f"{k}", f"{k}", "?", ("yes",)) for k in range(40)]
    generator = np.random.default_rng(0)
    first = {f"{k}": "yes" if generator.random() < 0.5 else "no" for k in range(40)}
    second = first | {"3": "no", "4": "no"}
    better, worse = vqa_accuracy(first, rows), vqa_accuracy(second, rows)
    assert accuracy_difference_interval(better, better, 200) is not None
    same = accuracy_difference_interval(better, better, 200)
    assert same is not None
    assert (same.low, same.high) == (0.0, 0.0)
    paired = accuracy_difference_interval(better, worse, 200)
    alone = better.interval(200)
    assert paired is not None
    assert alone is not None
    assert paired.high - paired.low < alone.high - alone.low
    with pytest.raises(DataError, match="same questions"):
        accuracy_difference_interval(better, vqa_accuracy({"1": "yes"}, rows[1:2]))


@pytest.mark.parametrize(
    ("predictions", "rows", "message"),
    [
        ({}, [], "at least one question"),
        ({"1": "yes", "2": "2"}, ROWS, "2 of 4 questions have no prediction, the first is '3'"),
        ({"1": "a", "2": "a", "3": "a", "4": "a", "5": "a"}, ROWS, "1 predictions answer no question.*'5'"),
        ({"1": "a"}, [ROWS[0], ROWS[0]], "more than once"),
        ({"9": "a"}, [QuestionRow("9", "i", "?")], "0 answers to a question"),
    ],
)
def test_predictions_that_do_not_belong_are_refused(
    predictions: dict[str, str], rows: list[QuestionRow], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        vqa_accuracy(predictions, rows)


def test_results_are_written_as_the_server_takes_them_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(path, {"42001": "caf\u00e9", "scene?1": "yes", "007": "no"})
    assert json.loads(path.read_text("utf-8")) == [
        {"question_id": 42001, "answer": "caf\u00e9"},
        {"question_id": "scene?1", "answer": "yes"},
        {"question_id": "007", "answer": "no"},
    ]
    assert read_results(path) == {"42001": "caf\u00e9", "scene?1": "yes", "007": "no"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "the content must be a list"),
        ('["yes"]', r"\[0\]: the entry must be an object"),
        ('[{"question_id": 1}]', r"\[0\]: `answer` must be a string, found nothing"),
        ('[{"answer": "a"}]', r"\[0\]: `question_id`"),
        ('[{"question_id": 1, "answer": 3}]', "`answer` must be a string"),
        (
            '[{"question_id": 1, "answer": "a"}, {"question_id": "1", "answer": "b"}]',
            r"\[1\]: the question id '1' appears more than once",
        ),
        ("[", "not valid JSON"),
    ],
)
def test_malformed_results_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_results(path)


def test_absent_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match=r"looked for .*none\.json"):
        read_results(tmp_path / "none.json")
