from __future__ import annotations

import base64
import io
import json

from PIL import Image

from compressor.evaluate.encode import encode_pairs
from compressor.evaluate.examples import pick_examples
from tests.evaluate.pairs import ColourEncoder, ColourPairs

PAIRS = ColourPairs()
TEACHER = encode_pairs(ColourEncoder({"red": "blue", "white": "red"}), PAIRS)
STUDENT = encode_pairs(ColourEncoder({"red": "blue", "green": "red"}), PAIRS)


def test_wins_losses_and_agreement_are_all_shown() -> None:
    examples = pick_examples(TEACHER, STUDENT, PAIRS, 8)
    from_text = [example for example in examples if example["kind"] == "text_to_image"]
    assert len(examples) == 8
    assert len(from_text) == 4
    assert {example["outcome"] for example in from_text} == {
        "both right",
        "student only",
        "teacher only",
        "both wrong",
    }


def test_answers_are_the_best_three_and_the_right_ones_are_marked() -> None:
    for example in pick_examples(TEACHER, STUDENT, PAIRS, 12):
        name = example["query"]["id"].removesuffix(".png")
        for role in ("teacher", "student"):
            answers = example[role]
            assert len(answers) == 3
            scores = [answer["score"] for answer in answers]
            assert scores == sorted(scores, reverse=True)
            for answer in answers:
                right = answer["id"] == f"{name}.png"
                assert answer["correct"] == right
                assert "image" in answer or answer["caption"].startswith(answer["id"].removesuffix(".png"))
        expected = {"both right": (True, True), "both wrong": (False, False), "teacher only": (True, False)}
        found = (example["teacher"][0]["correct"], example["student"][0]["correct"])
        assert found == expected.get(example["outcome"], (False, True))


def test_thumbnails_are_small_jpegs_of_the_pictures_and_everything_is_json() -> None:
    examples = pick_examples(TEACHER, STUDENT, PAIRS, 3)
    assert json.loads(json.dumps(examples)) == examples
    query = next(example["query"] for example in examples if example["kind"] == "image_to_text")
    picture = Image.open(io.BytesIO(base64.b64decode(query["image"])))
    assert picture.format == "JPEG"
    assert picture.size == (96, 48)


def test_the_choice_is_the_same_every_time_and_none_is_asked_for_twice() -> None:
    first = pick_examples(TEACHER, STUDENT, PAIRS, 10, seed=3)
    assert first == pick_examples(TEACHER, STUDENT, PAIRS, 10, seed=3)
    captions = [example["query"]["caption"] for example in first if example["kind"] == "text_to_image"]
    assert len(set(captions)) == len(captions) == 5
    assert pick_examples(TEACHER, STUDENT, PAIRS, 0) == []
    assert len(pick_examples(TEACHER, STUDENT, PAIRS, 40)) == 12 + 6


def test_a_student_without_a_teacher_is_shown_alone() -> None:
    examples = pick_examples(None, STUDENT, PAIRS, 6)
    assert all(example["teacher"] is None for example in examples)
    assert {example["outcome"] for example in examples} <= {"student right", "student wrong"}


def test_more_gallery_than_one_block_gives_the_same_answers(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from compressor.evaluate import examples as module

    whole = pick_examples(TEACHER, STUDENT, PAIRS, 8)
    monkeypatch.setattr(module, "_BLOCK", 2)
    assert pick_examples(TEACHER, STUDENT, PAIRS, 8) == whole
