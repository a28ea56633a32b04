"""The page: files that ask no one else, and a real browser that searches, ranks and is told errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from serving.app import App
from serving.endpoints.page import FILES, POLICY, WEB
from serving.keys import Keys
from serving.models import Models
from serving.settings import Settings
from tests.serving.browsing import CHROMIUM, address, say_what_is_not_verified, tab  # noqa: F401
from tests.serving.chromium import Tab
from tests.serving.conftest import Ask
from tests.serving.test_gallery import filled

KEY = "a-key-of-the-page-1"


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
        assert not re.search(r"https?:(?!//www\.w3\.org/2000/svg\b)|[\"'(]//|@import", text), name
    page = (WEB / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)", page)


if CHROMIUM is None:

    def test_there_is_no_browser_to_verify_the_page_with() -> None:
        say_what_is_not_verified("the page")

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
        assert f"'{address}/gallery?model=first'" in told
        (tmp_path / "note.png").write_text("no picture")
        tab.drop("#search", tmp_path / "note.png")
        told = tab.until("document.querySelector('#search-status.error')?.textContent")
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
        tab.until("document.querySelector('#key-form').hidden && document.activeElement.id == 'query'")
        assert tab.run("[localStorage.length, document.cookie, sessionStorage.length]") == [0, "", 1]

    def test_keys_alone_reach_search_and_results(
        tab: Tab, address: str, ask: Ask, files: list[bytes]
    ) -> None:
        filled(ask, files)
        tab.open(address)
        tab.until("document.querySelectorAll('#cards .card').length == 2")
        tab.press("Tab", "\t", 9)
        assert tab.run("document.activeElement.className") == "skip"
        tab.press("Enter", "\r", 13)
        assert tab.until("document.activeElement.id") == "main"
        tab.press("Tab", "\t", 9)
        assert tab.run("document.activeElement.id") == "query"
        tab.type("a star")
        tab.until("document.querySelectorAll('#results .hit').length == 10")
        passed = []
        while not tab.run("document.activeElement.matches('.hit')"):
            tab.press("Tab", "\t", 9)
            passed.append(tab.run("document.activeElement.id || document.activeElement.textContent.trim()"))
        assert passed[:3] == ["Search", "query-file", "count"]
        name = tab.run("document.activeElement.querySelector('.name').textContent")
        tab.press("Enter", "\r", 13)
        tab.until(f"document.querySelector('#query-name').textContent == '{name}'")
        assert tab.run("document.activeElement.id") == "query-clear"
        tab.until("document.querySelectorAll('#results[aria-busy=false] .hit').length == 10")
        assert tab.run("document.querySelector('#results .hit .name').textContent") == name

    def test_all_that_can_be_used_has_a_name_and_headings_leave_out_no_level(
        tab: Tab, address: str, ask: Ask, files: list[bytes]
    ) -> None:
        filled(ask, files)
        tab.open(f"{address}/?q=star")
        tab.until("document.querySelectorAll('#results .hit').length == 10")
        tab.until("document.querySelectorAll('#cards .card').length == 2")
        tab.send("Accessibility.enable")
        used = {"button", "link", "searchbox", "textbox", "combobox", "img", "region", "navigation", "search"}
        nodes = [
            (node["role"]["value"], node.get("name", {}).get("value"))
            for node in tab.send("Accessibility.getFullAXTree")["nodes"]
            if not node.get("ignored") and node["role"]["value"] in used
        ]
        assert {"searchbox", "textbox", "combobox", "button", "link"} <= {role for role, _ in nodes}
        assert [role for role, name in nodes if not name and role != "search"] == []
        levels = tab.run("[...document.querySelectorAll('h1, h2, h3, h4')].map(h => Number(h.tagName[1]))")
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))

    def test_what_is_read_stands_out_in_light_and_dark(tab: Tab, address: str) -> None:
        tab.open(address)
        tab.until("document.querySelectorAll('#cards .card').length == 2")
        texts = [
            (ink, on) for ink in ("ink", "quiet", "accent", "bad", "good") for on in ("ground", "raised")
        ]
        drawn = [(colour, "raised") for colour in ("teacher", "student", "control", "edge")]
        for scheme in ("light", "dark"):
            feature = {"name": "prefers-color-scheme", "value": scheme}
            tab.send("Emulation.setEmulatedMedia", features=[feature])
            for least, pairs in ((4.5, [*texts, ("on-accent", "accent")]), (3.0, drawn)):
                for pair in pairs:
                    ink, on = (luminance(tab, name) for name in pair)
                    contrast = (max(ink, on) + 0.05) / (min(ink, on) + 0.05)
                    assert contrast >= least, (scheme, pair, contrast)

    def luminance(tab: Tab, name: str) -> float:
        """Relative luminance of a colour of the page (WCAG 2.2)."""
        colour = tab.run(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}')").strip()
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)
