"""Captions and answers over HTTP are those of the runtime."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from compressor.recipe.blip import Head
from compressor.runtime import Writer
from serving.app import App
from serving.models import Models
from serving.settings import Settings
from tests.export.writers import Exported


@pytest.fixture
def served(writers: dict[Head, Exported]) -> Iterator[App]:
    settings = Settings(threads=1, deadline=60)
    folders = {"captions": writers["caption"].folder, "answers": writers["vqa"].folder}
    models = Models(folders, settings)
    yield App(models, settings)
    models.close()


def ask(app: App, path: str, **given: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.post(path, **given)

    return asyncio.run(send())


def coded(file: bytes) -> str:
    return base64.b64encode(file).decode()


def test_pictures_are_captioned(served: App, files: list[bytes]) -> None:
    model = served.models.get("captions")
    assert isinstance(model.opened, Writer)
    expected = model.opened.caption(files[:3])
    answer = ask(served, "/caption", json={"images": [coded(file) for file in files[:3]]})
    assert [result["caption"] for result in answer.json()["results"]] == expected
    greedy = ask(served, "/caption", json={"image": coded(files[0]), "beams": 1, "max_length": 9})
    assert greedy.json()["results"][0]["caption"] == model.opened.caption(files[:1], beams=1, max_length=9)[0]


def test_questions_are_answered(served: App, files: list[bytes]) -> None:
    model = served.models.get("answers")
    assert isinstance(model.opened, Writer)
    questions = ["what colour is it?", "how many circles?"]
    sent = {"model": "answers", "image": coded(files[0]), "questions": questions}
    results = ask(served, "/answer", json=sent).json()["results"]
    assert [result["question"] for result in results] == questions
    assert [result["answer"] for result in results] == model.opened.answer([files[0]] * 2, questions)


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("/answer", {"model": "captions", "questions": ["a"]}),
        ("/caption", {"model": "answers"}),
        ("/encode/text", {"texts": ["a"]}),
    ],
)
def test_a_model_of_another_kind_is_a_conflict(
    served: App, files: list[bytes], path: str, given: dict[str, Any]
) -> None:
    sent = given if path == "/encode/text" else {**given, "image": coded(files[0])}
    answer = ask(served, path, json=sent)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "wrong_kind")


@pytest.mark.parametrize("wrong", [{"beams": 0}, {"beams": 10**9}, {"max_length": 1}, {"max_length": 10**6}])
def test_lengths_and_beams_are_bounded(served: App, files: list[bytes], wrong: dict[str, int]) -> None:
    answer = ask(served, "/caption", json={"image": coded(files[0]), **wrong})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, next(iter(wrong)))
