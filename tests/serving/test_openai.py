"""Requests as OpenAI's Python client sends them, and answers as it takes them: no package is needed for that.

The headers and bodies are those that version 3.54.0 was seen to send.
"""

from __future__ import annotations

import base64
from typing import Any

import httpx
import numpy as np
import pytest

from compressor.runtime import Bundle
from serving.app import App
from serving.batching import OverloadedError
from serving.keys import Keys
from tests.serving.conftest import Ask

KEY = "a-key-for-the-tests"
HEADERS = {
    "authorization": f"Bearer {KEY}",
    "accept": "application/json",
    "content-type": "application/json",
    "user-agent": "OpenAI/Python 3.54.0",
    "accept-encoding": "gzip, deflate",
    "x-stainless-lang": "python",
    "x-stainless-package-version": "3.54.0",
    "x-stainless-os": "Linux",
    "x-stainless-arch": "x64",
    "x-stainless-runtime": "CPython",
    "x-stainless-runtime-version": "3.11.7",
    "x-stainless-async": "false",
    "x-stainless-retry-count": "0",
    "x-stainless-read-timeout": "600",
}
TWO = b'{"model":"toy","input":["a red star","a blue circle"],"encoding_format":"base64"}'
ONE = b'{"model":"toy","input":"a red star","user":"u","encoding_format":"float"}'


@pytest.fixture
def create(ask: Ask, app: App) -> Ask:
    """`client.embeddings.create`, as far as the service sees it."""
    app.keys = Keys((KEY,))

    def call(content: bytes, **headers: str) -> httpx.Response:
        return ask("POST", "/v1/embeddings", content=content, headers={**HEADERS, **headers})

    return call


def rows(answer: httpx.Response) -> np.ndarray:
    """Rows as the client reads them: a string is base64 of float32, in the order of the answer."""
    found = [item["embedding"] for item in answer.json()["data"]]
    return np.array(
        [np.frombuffer(base64.b64decode(row), "f4") if isinstance(row, str) else row for row in found],
        np.float64,
    )


def test_texts_in_its_usual_encoding_are_the_runtimes(create: Ask, bundle: Bundle) -> None:
    answer = create(TWO)
    assert answer.status_code == 200
    assert isinstance(answer.json()["data"][0]["embedding"], str)
    expected = bundle.encode_texts(["a red star", "a blue circle"])
    np.testing.assert_allclose(rows(answer), expected, atol=1e-6)
    assert (rows(answer) * expected).sum(1).min() > 0.9999


def test_a_text_as_numbers_is_the_runtimes(create: Ask, bundle: Bundle) -> None:
    np.testing.assert_allclose(rows(create(ONE)), bundle.encode_texts(["a red star"]), atol=1e-6)


def test_a_picture_as_data_url_is_the_runtimes(create: Ask, bundle: Bundle, files: list[bytes]) -> None:
    url = b"data:image/png;base64," + base64.b64encode(files[0])
    answer = create(b'{"model":"toy","input":["' + url + b'"],"encoding_format":"base64"}')
    np.testing.assert_allclose(rows(answer), bundle.encode_images(files[:1]), atol=1e-6)


def test_the_answer_has_every_field_that_the_client_models(create: Ask) -> None:
    body = create(TWO).json()
    assert set(body) == {"object", "data", "model", "usage"}
    assert [(item["object"], item["index"]) for item in body["data"]] == [("embedding", 0), ("embedding", 1)]
    assert {type(body["usage"][name]) for name in ("prompt_tokens", "total_tokens")} == {int}


@pytest.mark.parametrize(
    ("change", "status", "kind"),
    [
        ((b'"toy"', b'"text-embedding-3-small"'), 404, "NotFoundError"),
        ((b'"a red star"', b'""'), 422, "UnprocessableEntityError"),
        ((b'"a red star"', b"[1,2,3]"), 422, "UnprocessableEntityError"),
        ((b'"user":"u"', b'"dimensions":1'), 422, "UnprocessableEntityError"),
        ((b'"a red star"', b'"data:image/png;base64,@"'), 400, "BadRequestError"),
        ((b'"a red star"', b"[" + b'"a",' * 20 + b'"a"]'), 413, "APIStatusError"),
    ],
)
def test_statuses_are_those_that_its_exceptions_are_made_of(
    create: Ask, change: tuple[bytes, bytes], status: int, kind: str
) -> None:
    answer = create(ONE.replace(*change))
    assert answer.status_code == status, kind
    error: dict[str, Any] = answer.json()["error"]  # of which it takes `message`, `code` and `param`
    assert error["code"]
    assert error["message"]


def test_keys_are_refused_as_it_expects(create: Ask) -> None:
    assert create(ONE, authorization="Bearer another-key-of-the-tests").status_code == 403
    assert create(ONE, authorization="").status_code == 401


def test_overload_tells_it_when_to_try_again(create: Ask, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OverloadedError(2.4)

    monkeypatch.setattr(app.models.get("toy").engine, "submit", full)
    answer = create(ONE)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")
    assert answer.json()["error"]["code"] == "overloaded"
