"""Galleries that grow over HTTP are cared for behind the requests, and no request is the worse for it."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compressor.gallery import Gallery, NewItem, embed, keeper
from compressor.runtime import Bundle
from serving.app import App
from serving.galleries import Galleries
from serving.models import Models
from serving.settings import Settings
from serving.upkeep import Pace, Upkeep
from tests.serving.conftest import Ask
from tests.serving.processes import until

QUICK = Pace(exact_below=300, pieces=4, look=0.01, rest=0.01, pause=60)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"gallery": str(tmp_path / "gallery")})


@pytest.fixture
def app(models: Models, settings: Settings) -> Iterator[App]:
    app = App(models, settings)
    app.galleries.close()
    app.galleries = Galleries(models, settings, QUICK)
    yield app
    app.galleries.close()


def items(files: list[bytes], prefix: str, count: int = 1) -> dict[str, Any]:
    coded = [base64.b64encode(files[k % len(files)]).decode() for k in range(count)]
    return {"items": [{"id": f"{prefix}{k}", "image": image} for k, image in enumerate(coded)]}


def fragments(settings: Settings) -> int:
    return int(Gallery.open(str(settings.gallery)).info()["fragments"])


def test_small_adds_are_merged_behind_them(ask: Ask, settings: Settings, files: list[bytes]) -> None:
    for call in range(6):
        assert ask("POST", "/gallery", json=items(files, f"a{call}-")).json()["added"] == 1
        assert ask("POST", "/search", json={"text": "a star"}).status_code == 200
    until(lambda: fragments(settings) < 4, 30)
    assert ask("GET", "/gallery").json()["count"] == 6


def test_a_gallery_that_others_have_made_large_is_indexed_and_shows_its_recall(
    ask: Ask, settings: Settings, bundle: Bundle, files: list[bytes]
) -> None:
    many = [NewItem(f"i{k}", files[k % len(files)]) for k in range(320)]
    gallery = Gallery.open(str(settings.gallery), bundle, create=True)
    gallery.add(many, embed(bundle, many))
    assert len(ask("POST", "/search", json={"text": "a star", "k": 7}).json()["results"]) == 7
    until(lambda: ask("GET", "/gallery").json()["index"]["search"] == "approximate", 30)
    index = ask("GET", "/gallery").json()["index"]["recall"]
    assert (index["kind"], index["rows"]) == ("IVF_HNSW_SQ", 320)
    assert 0 < index["recall_at_10"] <= 1
    assert len(ask("POST", "/search", json={"text": "a star", "k": 7}).json()["results"]) == 7


def test_upkeep_that_fails_is_logged_and_fails_no_request(
    ask: Ask, files: list[bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "compressor.serving")
    real = keeper.start
    started: list[str] = []

    def elsewhere(place: str, *rules: int) -> Any:
        started.append(place)
        return real(f"{place}/nowhere", *rules)

    monkeypatch.setattr(keeper, "start", elsewhere)
    for call in range(6):
        assert ask("POST", "/gallery", json=items(files, f"a{call}-")).status_code == 200
    until(lambda: len(caplog.records) > 0, 30)
    assert "put off" in caplog.records[0].getMessage()
    assert "there is no gallery here" in caplog.records[0].getMessage()
    for call in range(4):
        assert ask("POST", "/gallery", json=items(files, f"b{call}-")).status_code == 200
    assert len(started) == 1, "it is not tried again at once"


def test_closing_ends_a_process_that_is_at_it(
    app: App, ask: Ask, files: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeping: list[Any] = []
    real = keeper.subprocess.Popen

    def sleeper(command: list[str], **given: Any) -> Any:
        sleeping.append(real(["sleep", "600"], **given))
        return sleeping[0]

    monkeypatch.setattr(keeper.subprocess, "Popen", sleeper)
    for call in range(6):
        assert ask("POST", "/gallery", json=items(files, f"a{call}-")).status_code == 200
    until(lambda: len(sleeping) == 1, 30)
    assert ask("POST", "/search", json={"text": "a star"}).status_code == 200
    app.galleries.close()
    assert sleeping[0].wait(5) == -15
    thread = app.galleries._upkeep._thread
    assert thread is not None
    assert not thread.is_alive()


class Counted:
    """A gallery that counts how often it is asked."""

    uri, version = "here", 1
    pointer = type("Pointer", (), {"table": "items"})

    def __init__(self) -> None:
        self.asked = 0

    def due(self, pieces: int) -> bool:
        self.asked += 1
        return False


def test_a_gallery_that_has_not_changed_is_not_looked_at_again() -> None:
    gallery, upkeep = Counted(), Upkeep(QUICK)
    upkeep.after(gallery)
    until(lambda: gallery.asked == 1, 10)
    for _ in range(20):
        upkeep.after(gallery)
    gallery.version = 2
    upkeep.after(gallery)
    until(lambda: gallery.asked == 2, 10)
    upkeep.close()
    upkeep.after(gallery)
    assert gallery.asked == 2


def test_two_workers_leave_it_to_one_of_them(
    models: Models, settings: Settings, bundle: Bundle, files: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both look at the same moment; what a second process finds is not due any more."""
    gallery = Gallery.open(str(settings.gallery), bundle, create=True)
    for call in range(6):
        one = [NewItem(f"i{call}", files[0])]
        gallery.add(one, embed(bundle, one))
    started: list[str] = []
    real = keeper.start
    monkeypatch.setattr(keeper, "start", lambda *rules: (started.append(rules[0]), real(*rules))[1])
    both = [Upkeep(QUICK), Upkeep(QUICK)]
    for upkeep in both:
        upkeep.after(gallery)
    until(lambda: fragments(settings) == 1, 30)
    for upkeep in both:
        upkeep.close()
    assert 1 <= len(started) <= 2
    assert gallery.count() == 6
