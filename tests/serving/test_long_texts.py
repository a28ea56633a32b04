"""Texts that take long to tokenise hold up nobody else, and nobody for longer than the deadline."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.requests import Request

from compressor.runtime import Bundle
from serving.app import App
from serving.bodies import Body
from serving.call import Call
from serving.errors import ApiError
from serving.models import Models

LONG = ["a red circle " * 100] * 20


@pytest.mark.parametrize(
    ("path", "field"), [("/encode/text", "texts"), ("/v1/embeddings", "input")], ids=["encode", "openai"]
)
def test_others_are_answered_while_long_texts_are_tokenised(
    app: App, models: Models, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, path: str, field: str
) -> None:
    preprocessor, lived = models.get(None).opened.preprocessor, threading.Event()
    tokenise = preprocessor.texts

    def slowly(texts: list[str]) -> Any:
        assert lived.wait(5), "the loop was held"
        return tokenise(texts)

    monkeypatch.setattr(type(preprocessor), "texts", lambda _, texts: slowly(texts))

    async def both() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            long = asyncio.create_task(client.post(path, json={field: LONG}))
            await asyncio.sleep(0.05)
            assert (await client.get("/livez")).status_code == 200
            lived.set()
            return await long

    answer = asyncio.run(both()).json()
    rows = [each["embedding"] for each in answer.get("results") or answer["data"]]
    monkeypatch.undo()
    np.testing.assert_allclose(np.array(rows), bundle.encode_texts(LONG), atol=1e-5)


def test_a_deadline_ends_it(app: App, models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    preprocessor, tokenised = models.get(None).opened.preprocessor, []

    def slowly(_: Any, texts: list[str]) -> Any:
        tokenised.append(texts)

    monkeypatch.setattr(type(preprocessor), "texts", slowly)
    call = Call(Request({"type": "http"}), Body(), models, app.settings, time.monotonic() - 1, app.galleries)
    with pytest.raises(ApiError) as raised:
        asyncio.run(call.token_ids(models.get(None), LONG))
    assert (raised.value.status, raised.value.code) == (504, "deadline")
    assert not tokenised
