from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from serving.app import App
from serving.models import Models
from serving.settings import Settings
from tests.export.toys import pictures
from tests.runtime.conftest import bundle, exported, writers  # noqa: F401
from tests.serving.chromium import Pipe, browser, found

Ask = Callable[..., httpx.Response]


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


@pytest.fixture(scope="session")
def files() -> list[bytes]:
    return [png(image) for image in pictures(5)]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipe]:
    """One browser for all tests."""
    program = found()
    assert program is not None
    with browser(program, tmp_path_factory.mktemp("chromium") / "profile") as pipe:
        yield pipe


@pytest.fixture
def settings(exported: Path) -> Settings:  # noqa: F811
    return Settings(bundles=(f"toy={exported}",), threads=1, max_items=20, max_body=500_000, max_text=2000)


@pytest.fixture
def models(exported: Path, settings: Settings) -> Iterator[Models]:  # noqa: F811
    models = Models({"toy": exported}, settings)
    yield models
    models.close()


@pytest.fixture
def app(models: Models, settings: Settings) -> Iterator[App]:
    app = App(models, settings)
    yield app
    app.galleries.close()
    app.close()


@pytest.fixture
def ask(app: App) -> Ask:
    """One request to the application, without a socket."""

    def call(method: str, path: str, **given: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, **given)

        return asyncio.run(send())

    return call
