"""What goes wrong is one sentence on the page, and the next search works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from serving.app import App
from serving.errors import ApiError
from serving.settings import Settings
from tests.serving.browsing import CHROMIUM, address, say_what_is_not_verified, tab  # noqa: F401
from tests.serving.chromium import Tab
from tests.serving.conftest import Ask
from tests.serving.test_gallery import filled

ERROR = "document.querySelector('#search-status.error')?.textContent"
HITS = "document.querySelectorAll('#results .hit').length"


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"gallery": str(tmp_path / "gallery")})


if CHROMIUM is None:

    def test_there_is_no_browser_to_verify_the_errors_of_the_page_with() -> None:
        say_what_is_not_verified("the errors of the page")

else:

    def test_too_busy_is_told_with_when_to_come_back(
        tab: Tab,
        address: str,
        app: App,
        ask: Ask,
        files: list[bytes],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        async def full(*_: Any) -> Any:
            raise ApiError(429, "overloaded", "too much waits", headers={"Retry-After": "2"})

        filled(ask, files)
        with monkeypatch.context() as patched:
            patched.setattr(app.models, "run", full)
            tab.open(f"{address}/?q=star")
            assert tab.until(ERROR) == "Too much waits; try again in 2 s"
        tab.run("document.querySelector('#query').focus()")
        tab.press("Enter", "\r", 13)
        tab.until(f"{HITS} == 5")
        assert not tab.run(ERROR)

    @pytest.mark.parametrize("size", [600_000, 3_000_000])
    def test_too_large_a_picture_is_told_its_limit(
        tab: Tab,
        address: str,
        ask: Ask,
        files: list[bytes],
        tmp_path: Path,
        size: int,
    ) -> None:
        filled(ask, files)
        (tmp_path / "large.png").write_bytes(files[0] + bytes(size))
        tab.open(address)
        tab.until("document.querySelectorAll('#cards .card').length == 1")
        tab.drop("#search", tmp_path / "large.png")
        assert "500,000" in tab.until(ERROR)
        (tmp_path / "p2.png").write_bytes(files[2])
        tab.drop("#search", tmp_path / "p2.png")
        tab.until("document.querySelector('#results .hit .name')?.textContent == 'p2'")

    def test_a_service_that_is_gone_is_told(
        tab: Tab,
        address: str,
        ask: Ask,
        files: list[bytes],
    ) -> None:
        filled(ask, files)
        tab.open(address)
        tab.until("document.querySelectorAll('#cards .card').length == 1")
        gone = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        tab.send("Network.emulateNetworkConditions", offline=True, **gone)
        tab.run("document.querySelector('#query').focus()")
        tab.type("a star")
        assert tab.until(ERROR) == "The service does not answer; is it still running?"
        tab.send("Network.emulateNetworkConditions", offline=False, **gone)
        tab.press("Enter", "\r", 13)
        tab.until(f"{HITS} == 5")

    def test_nothing_asked_for_is_told_beside_the_field(tab: Tab, address: str) -> None:
        tab.open(address)
        tab.until("document.querySelectorAll('#cards .card').length == 1")
        tab.run("document.querySelector('#search-form .primary').click()")
        assert tab.until("document.querySelector('#search-status').textContent").startswith("Type what")
        assert tab.run("document.activeElement.id") == "query"
        tab.run("document.querySelector('#rank-form button').click()")
        assert tab.until("document.querySelector('#rank-status').textContent") == "Choose a picture first."
        assert tab.run("document.activeElement.id") == "rank-file"
        said = tab.run("document.querySelector('#reports').textContent")
        assert said.startswith("The bundles served here hold no figures of a run")
