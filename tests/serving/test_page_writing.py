"""Models that write, on the page: captions and answers, and nothing that they cannot do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from compressor.recipe.blip import Head
from serving.models import Models
from serving.settings import Settings
from tests.export.writers import Exported
from tests.serving.browsing import CHROMIUM, address, say_what_is_not_verified, tab  # noqa: F401
from tests.serving.chromium import Tab
from tests.serving.conftest import Ask

WRITTEN = "document.querySelectorAll('#written .column').length"


@pytest.fixture
def settings() -> Settings:
    return Settings(threads=1, deadline=60)


@pytest.fixture
def models(writers: dict[Head, Exported], settings: Settings) -> Iterator[Models]:
    models = Models({"captions": writers["caption"].folder, "answers": writers["vqa"].folder}, settings)
    yield models
    models.close()


if CHROMIUM is None:

    def test_there_is_no_browser_to_verify_writing_on_the_page_with() -> None:
        say_what_is_not_verified("writing on the page")

else:

    def test_a_dropped_picture_is_captioned_and_asked_about(
        tab: Tab,
        address: str,
        ask: Ask,
        files: list[bytes],
        tmp_path: Path,
    ) -> None:
        tab.open(address)
        tab.until("document.querySelector('#write')?.hidden === false")
        assert tab.run("['search', 'rank'].every(id => document.getElementById(id).hidden)")
        hidden = tab.run(
            "[...document.querySelectorAll('nav a')].filter(a => a.hidden).map(a => a.textContent)"
        )
        assert hidden == ["Search", "Rank"]
        (tmp_path / "a.png").write_bytes(files[0])
        tab.run("document.querySelector('#questions').value = 'what is it?\\nhow many?'")
        tab.drop("#models", tmp_path / "a.png")
        tab.until(f"{WRITTEN} == 2")
        caption = tab.run("document.querySelector('#written .text').textContent")
        form = {"files": {"image": files[0]}}
        assert caption == ask("POST", "/caption", **form).json()["results"][0]["caption"]
        questions = tab.run("[...document.querySelectorAll('#written dt')].map(e => e.textContent)")
        assert questions == ["what is it?", "how many?"]
        answers = tab.run("[...document.querySelectorAll('#written dd')].map(e => e.textContent)")
        sent = {"model": "answers", "questions": '["what is it?", "how many?"]'}
        results = ask("POST", "/answer", data=sent, **form).json()["results"]
        assert answers == [result["answer"] for result in results]
        assert tab.problems == []
