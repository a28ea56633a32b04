"""`python -m compressor.runtime` on bundles that write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compressor.recipe.blip import Head
from compressor.runtime.__main__ import main
from tests.export.toys import pictures
from tests.export.writers import Exported
from tests.students.blips import QUESTIONS


@pytest.fixture
def picture(tmp_path: Path) -> str:
    pictures(1)[0].save(tmp_path / "picture.png")
    return str(tmp_path / "picture.png")


def test_a_captioner_prints_the_caption(
    writers: dict[Head, Exported], picture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    written = writers["caption"]
    (caption,) = written.writer.caption(pictures(1))
    assert main([str(written.folder), picture, "--threads", "1"]) == 0
    assert capsys.readouterr().out == f"{caption}\n"
    assert main([str(written.folder), picture, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"caption": caption}]


def test_a_model_that_answers_prints_an_answer_to_each_question(
    writers: dict[Head, Exported], picture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    written = writers["vqa"]
    answers = written.writer.answer(pictures(1) * 2, QUESTIONS[:2])
    assert main([str(written.folder), picture, *QUESTIONS[:2]]) == 0
    assert capsys.readouterr().out == "\n".join(answers) + "\n"
    assert main([str(written.folder), picture, QUESTIONS[0], "--json", "--precision", "fp32"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"question": QUESTIONS[0], "answer": answers[0]}]


@pytest.mark.parametrize(
    ("head", "texts", "sentence"),
    [
        ("caption", ["what is it"], "this bundle captions pictures; give it the image alone"),
        ("vqa", [], "this bundle answers questions about pictures; give one after the image"),
    ],
)
def test_what_does_not_fit_the_kind_is_one_sentence(
    writers: dict[Head, Exported],
    picture: str,
    capsys: pytest.CaptureFixture[str],
    head: Head,
    texts: list[str],
    sentence: str,
) -> None:
    assert main([str(writers[head].folder), picture, *texts]) == 2
    assert capsys.readouterr().err == f"{sentence}\n"


def test_a_dual_encoder_needs_a_text(
    exported: Path, picture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(exported), picture]) == 2
    assert "give a text after the image" in capsys.readouterr().err
