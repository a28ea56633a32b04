"""What tests of the page in a browser share: a served address, a tab, and the browser where there is one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from serving.app import App
from tests.runtime.machine import not_verified
from tests.serving.chromium import Pipe, Tab, found
from tests.serving.processes import free_port

CHROMIUM = found()


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
def tab(chromium: Pipe) -> Iterator[Tab]:
    """Of one browser for all tests, with nothing that another test has left."""
    tab = Tab(chromium)
    yield tab
    tab.close()


def say_what_is_not_verified(part: str) -> None:
    """The summary of the tests names the hole where there is no browser."""
    with pytest.warns(UserWarning, match=f"not verified on this machine: {part} in a browser"):
        not_verified(f"{part} in a browser", "there is no Chromium")
    not_verified(f"{part} in a browser", "there is no Chromium")
