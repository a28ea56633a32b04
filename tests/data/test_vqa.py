"""VQA v2's own files: questions, people's answers, images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compressor.data.vqa import QuestionRow, VqaFiles, missing, official_files, open_vqa
from compressor.errors import BadImageError, DataError, MissingResourceError
from tests.data.helpers import shade, write_images, write_json

QUESTIONS = [
    {"image_id": 42, "question": "What color is the dog? ", "question_id": 42001},
    {"image_id": 7, "question": "How many dogs?", "question_id": 7000},
    {"image_id": 42, "question": "Is it raining?", "question_id": 42000},
]
TEN = ["brown"] * 6 + ["dark brown", "tan", " Brown", "black"]


def annotation(
    question: int, image: int, answers: list[str], answer_type: str, opening: str
) -> dict[str, Any]:
    return {
        "question_id": question,
        "image_id": image,
        "question_type": opening,
        "answer_type": answer_type,
        "multiple_choice_answer": answers[0],
        "answers": [
            {"answer": answer, "answer_confidence": "yes", "answer_id": number + 1}
            for number, answer in enumerate(answers)
        ],
    }


ANNOTATIONS = [
    annotation(7000, 7, ["2"] * 10, "number", "how many"),
    annotation(42001, 42, TEN, "other", "what color is the"),
    annotation(42000, 42, ["no"] * 10, "yes/no", "is it"),
]


def write(root: Path, questions: Any = QUESTIONS, annotations: Any = ANNOTATIONS) -> VqaFiles:
    files = official_files(root, "val")
    assert files.annotations is not None
    write_json(files.questions, {"questions": questions, "task_type": "Open-Ended"})
    write_json(files.annotations, {"annotations": annotations, "license": {}})
    write_images(files.images, ["COCO_val2014_000000000007.jpg", "COCO_val2014_000000000042.jpg"])
    return files


def test_questions_come_in_the_files_order_with_the_answers_of_ten_people(tmp_path: Path) -> None:
    questions = open_vqa(write(tmp_path), "val")
    assert list(questions.rows) == [
        QuestionRow("42001", "42", "What color is the dog?", tuple(TEN), "other", "what color is the"),
        QuestionRow("7000", "7", "How many dogs?", ("2",) * 10, "number", "how many"),
        QuestionRow("42000", "42", "Is it raining?", ("no",) * 10, "yes/no", "is it"),
    ]
    assert questions.split == "val"
    assert [shade(questions.image(index)) for index in range(3)] == [1, 0, 1]


def test_the_official_names_of_every_split(tmp_path: Path) -> None:
    test = official_files(tmp_path, "test")
    assert test.questions == tmp_path / "v2_OpenEnded_mscoco_test2015_questions.json"
    assert (test.annotations, test.images) == (None, tmp_path / "test2015")
    assert test.image_name.format(image_id=12) == "COCO_test2015_000000000012.jpg"
    train = official_files(tmp_path, "train")
    assert train.annotations == tmp_path / "v2_mscoco_train2014_annotations.json"


def test_questions_without_annotations_have_no_answers(tmp_path: Path) -> None:
    files = write(tmp_path)
    questions = open_vqa(VqaFiles(files.questions, None, files.images, files.image_name), "test")
    assert [row.answers for row in questions.rows] == [(), (), ()]
    assert shade(questions.image(1)) == 0


def test_files_may_have_any_names_and_ids_may_be_strings(tmp_path: Path) -> None:
    write_json(tmp_path / "q.json", {"questions": [{"image_id": "ab", "question": "?", "question_id": "x"}]})
    write_images(tmp_path / "photos", ["p/ab.png"])
    questions = open_vqa(VqaFiles(tmp_path / "q.json", None, tmp_path / "photos", "p/{image_id}.png"), "val")
    assert questions.rows[0] == QuestionRow("x", "ab", "?")
    assert shade(questions.image(0)) == 0


def test_what_is_missing_is_named_with_where_it_was_looked_for(tmp_path: Path) -> None:
    files = official_files(tmp_path, "train")
    assert len(missing(files)) == 3
    with pytest.raises(MissingResourceError, match=r"train2014_questions\.json.*visualqa\.org"):
        open_vqa(files, "train")
    write(tmp_path)
    assert missing(official_files(tmp_path, "val")) == []
    for image in (tmp_path / "val2014").iterdir():
        image.unlink()
    with pytest.raises(MissingResourceError, match="images are missing"):
        open_vqa(official_files(tmp_path, "val"), "val")


def test_one_absent_image_is_an_unusable_sample_and_stops_nothing(tmp_path: Path) -> None:
    files = write(tmp_path)
    (files.images / "COCO_val2014_000000000007.jpg").unlink()
    questions = open_vqa(files, "val")
    assert shade(questions.image(0)) == 1
    with pytest.raises(BadImageError, match="no such file"):
        questions.image(1)


def test_the_fingerprint_knows_questions_answers_and_images(tmp_path: Path) -> None:
    first = open_vqa(write(tmp_path / "a"), "val")
    files = write(tmp_path / "a")
    assert open_vqa(files, "val").fingerprint == first.fingerprint
    other = [*ANNOTATIONS[:2], annotation(42000, 42, ["yes"] * 10, "yes/no", "is it")]
    assert open_vqa(write(tmp_path / "a", annotations=other), "val").fingerprint != first.fingerprint
    turned = [QUESTIONS[1], QUESTIONS[0], QUESTIONS[2]]
    assert open_vqa(write(tmp_path / "a", questions=turned), "val").fingerprint != first.fingerprint
    files = write(tmp_path / "a")
    (files.images / "COCO_val2014_000000000007.jpg").write_bytes(b"other")
    assert open_vqa(files, "val").fingerprint != first.fingerprint


def changed(entries: list[dict[str, Any]], position: int, **fields: Any) -> list[dict[str, Any]]:
    return [entry | (fields if number == position else {}) for number, entry in enumerate(entries)]


@pytest.mark.parametrize(
    ("questions", "annotations", "message"),
    [
        (None, ANNOTATIONS, "`questions` must be a list, found nothing"),
        (QUESTIONS, {}, "`annotations` must be a list"),
        ([], [], "there are no questions"),
        ([*QUESTIONS, QUESTIONS[0]], ANNOTATIONS, "question id '42001' appears more than once"),
        (QUESTIONS, [*ANNOTATIONS, ANNOTATIONS[1]], "question id '42001' appears more than once"),
        (QUESTIONS[:2], ANNOTATIONS, "no question '42000' in"),
        (QUESTIONS, ANNOTATIONS[:2], "no answers to the question '42000'"),
        (["what?"], ANNOTATIONS, r"questions\[0\]: the entry must be an object"),
        (changed(QUESTIONS, 1, question_id=True), ANNOTATIONS, r"questions\[1\]: `question_id`.*a boolean"),
        (changed(QUESTIONS, 1, question=None), ANNOTATIONS, r"questions\[1\]: `question` must be a string"),
        (changed(QUESTIONS, 2, image_id=1.5), ANNOTATIONS, r"questions\[2\]: `image_id`.*a number"),
        (
            changed(QUESTIONS, 1, image_id="x"),
            changed(ANNOTATIONS, 0, image_id="x"),
            "cannot be made of.*'x'",
        ),
        (QUESTIONS, changed(ANNOTATIONS, 1, image_id=9), r"annotations\[1\]: its image is 9, that .* 42"),
        (QUESTIONS, changed(ANNOTATIONS, 0, answers=[]), r"annotations\[0\]: `answers` is empty"),
        (QUESTIONS, changed(ANNOTATIONS, 0, answers="2"), r"annotations\[0\]: `answers` must be a list"),
        (
            QUESTIONS,
            changed(ANNOTATIONS, 0, answers=["2"]),
            r"annotations\[0\]\.answers\[0\]: the answer must",
        ),
        (
            QUESTIONS,
            changed(ANNOTATIONS, 0, answers=[{"answer": 2}]),
            r"answers\[0\]: `answer` must be a string",
        ),
        (QUESTIONS, changed(ANNOTATIONS, 0, answer_type=None), r"annotations\[0\]: `answer_type`"),
    ],
)
def test_wrong_content_is_refused(tmp_path: Path, questions: Any, annotations: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        open_vqa(write(tmp_path, questions, annotations), "val")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pattern", ["../{image_id}.jpg", "/etc/{image_id}"])
def test_an_image_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, pattern: str) -> None:
    files = write(tmp_path)
    with pytest.raises(DataError, match="leads outside"):
        open_vqa(VqaFiles(files.questions, None, files.images, pattern), "val")


@pytest.mark.parametrize("pattern", ["{number}.jpg", "{0}.jpg", "{image_id.x}.jpg", "{image_id"])
def test_an_image_name_that_cannot_be_made_is_refused(tmp_path: Path, pattern: str) -> None:
    files = write(tmp_path)
    with pytest.raises(DataError, match="cannot be made of the image id 42"):
        open_vqa(VqaFiles(files.questions, None, files.images, pattern), "val")


def test_broken_json_is_named_with_its_line(tmp_path: Path) -> None:
    files = write(tmp_path)
    files.questions.write_text('{"questions": [\n1,,]}')
    with pytest.raises(DataError, match=r"questions\.json:2"):
        open_vqa(files, "val")
