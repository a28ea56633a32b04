"""The page: three files that ask no one else, and a real browser that searches, ranks and is told errors."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import uvicorn

from serving.app import App
from serving.endpoints.page import FILES, POLICY, WEB
from serving.keys import Keys
from serving.models import Models
from serving.settings import Settings
from tests.runtime.machine import not_verified
from tests.serving.chromium import Tab, browser, found
from tests.serving.conftest import Ask
from tests.serving.test_gallery import filled
from tests.serving.test_process import free_port

KEY = "a-key-of-the-page-1"
CHROMIUM = found()


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"gallery": str(tmp_path / "gallery")})


@pytest.fixture
def models(exported: Path, settings: Settings) -> Iterator[Models]:
    models = Models({"first": exported, "second": exported}, settings)
    yield models
    models.close()


@pytest.mark.parametrize(("path", "kind"), [(path, kind) for path, (_, kind) in FILES.items()])
def test_files_come_with_their_type_policy_and_tag(ask: Ask, app: App, path: str, kind: str) -> None:
    app.keys = Keys((KEY,))
    answer = ask("GET", path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, f"{kind}; charset=utf-8")
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.content == (WEB / FILES[path][0]).read_bytes()
    for tag, status in (
        (answer.headers["ETag"], 304),
        (f'"x", W/{answer.headers["ETag"]}', 304),
        ('"x"', 200),
    ):
        again = ask("GET", path, headers={"If-None-Match": tag})
        assert (again.status_code, again.headers["ETag"]) == (status, answer.headers["ETag"])
        assert bool(again.content) == (status == 200)


def test_other_answers_keep_the_strict_policy(ask: Ask) -> None:
    assert "script-src" not in ask("GET", "/livez").headers["Content-Security-Policy"]


def test_no_file_names_another_host_or_holds_script_or_style_in_line() -> None:
    for name, _ in FILES.values():
        text = (WEB / name).read_text(encoding="utf-8")
        assert not re.search(r"https?:|[\"'(]//|@import", text), name
    page = (WEB / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)", page)


@pytest.fixture
def address(app: App) -> Iterator[str]:
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, lifespan="off", log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    assert CHROMIUM is not None
    with browser(CHROMIUM, tmp_path / "profile") as tab:
        yield tab


if CHROMIUM is None:

    def test_there_is_no_browser_to_verify_the_page_with() -> None:
        with pytest.warns(UserWarning, match="not verified on this machine: the page in a browser"):
            not_verified("the page in a browser", "there is no Chromium")
        not_verified("the page in a browser", "there is no Chromium")

else:

    def test_a_link_shares_a_search_and_all_models_answer_side_by_side(
        tab: Tab, address: str, ask: Ask, files: list[bytes]
    ) -> None:
        filled(ask, files)
        tab.open(f"{address}/?q=a+red+star")
        tab.until("document.querySelectorAll('#results .hit img').length == 10")
        assert tab.run("document.querySelector('#query').value") == "a red star"
        headings = "[...document.querySelectorAll('#results h3')].map(h => h.firstChild.data)"
        assert tab.run(headings) == ["first", "second"]
        tab.until("[...document.querySelectorAll('.hit img')].every(i => i.complete && i.naturalWidth)")
        status = tab.run("document.querySelector('#search-status').textContent")
        assert status == "5 pictures found by each model, 5 of them the same."
        assert "round trip" in tab.run("document.querySelector('#results .quiet.number').textContent")
        tab.until("document.querySelectorAll('#cards .card').length == 2")
        assert all(url.startswith((address, "data:", "blob:")) for url in tab.requested)
        assert tab.problems == []

    def test_people_type_choose_drop_and_rank(
        tab: Tab, address: str, ask: Ask, files: list[bytes], tmp_path: Path
    ) -> None:
        filled(ask, files)
        first_name = "document.querySelector('#results .hit .name')?.textContent"
        tab.open(address)
        tab.until("document.querySelectorAll('#cards .card').length == 2")
        tab.run("document.querySelector('#query').focus()")
        tab.type("two blue circles")
        tab.until("document.querySelectorAll('#results .hit').length == 10")
        assert tab.run("location.search") == "?q=two+blue+circles"
        for number, give in ((3, partial(tab.choose, "#query-file")), (1, partial(tab.drop, "#search"))):
            picture = tmp_path / f"{number}.png"
            picture.write_bytes(files[number])
            give(picture)
            tab.until(f"{first_name} == 'p{number}'")
        assert tab.run("location.search") == ""
        assert tab.run("document.querySelector('#query-name').textContent") == "1.png"
        tab.drop("#rank-form", tmp_path / "3.png")
        tab.until("document.querySelectorAll('#ranks .bar').length == 6")
        shares = tab.run(
            "[...document.querySelectorAll('#ranks .bars .number')].map(e => parseFloat(e.textContent))"
        )
        assert sum(shares[:3]) == pytest.approx(100, abs=0.3)
        assert shares[:3] == sorted(shares[:3], reverse=True)
        assert tab.problems == []

    def test_errors_are_the_service_s_own_sentences_and_an_empty_gallery_says_how_to_fill_it(
        tab: Tab, address: str, ask: Ask, tmp_path: Path
    ) -> None:
        tab.open(f"{address}/?q=star")
        told = tab.until("document.querySelector('#results')?.innerText")
        assert "compressor gallery build RUN --images DIR" in told
        (tmp_path / "note.png").write_text("no picture")
        tab.drop("#search", tmp_path / "note.png")
        told = tab.until("document.querySelector('#results .error')?.textContent")
        answer = ask("POST", "/search", content=b"no picture", headers={"Content-Type": "image/png"})
        assert told.lower() == answer.json()["error"]["message"].lower()

    def test_where_keys_are_set_it_asks_for_one_and_keeps_it_for_the_tab(
        tab: Tab, address: str, app: App, ask: Ask, files: list[bytes]
    ) -> None:
        filled(ask, files)
        app.keys = Keys((KEY,))
        tab.open(f"{address}/?q=star")
        tab.until("document.activeElement?.id == 'key'")
        tab.type("a-wrong-key-of-the-page")
        tab.until("document.querySelector('#key-error').textContent == 'The key is not known here'")
        tab.type(KEY)
        tab.until("document.querySelectorAll('#results .hit img[src^=blob]').length == 10")
        tab.until("[...document.querySelectorAll('.hit img')].every(i => i.complete && i.naturalWidth)")
        assert tab.run("document.querySelector('#key-form').hidden")
        assert tab.run("[localStorage.length, document.cookie, sessionStorage.length]") == [0, "", 1]
