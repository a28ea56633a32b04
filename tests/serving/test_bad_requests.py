"""Whatever is sent, the answer is one of ours, says what is at fault, and the next request is answered."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from PIL import Image

from tests.serving.conftest import Ask


def bomb() -> bytes:
    """9,000 x 9,000 pixels in a few kilobytes."""
    file = io.BytesIO()
    Image.new("1", (9000, 9000)).save(file, "png")
    return file.getvalue()


def coded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


TEXT = "/encode/text"
IMAGE = "/encode/image"
BODIES: list[tuple[str, dict[str, Any], int, str]] = [
    (TEXT, {"content": b"{"}, 400, "bad_json"),
    (TEXT, {"content": b""}, 400, "bad_json"),
    (TEXT, {"content": b"[]"}, 400, "bad_json"),
    (TEXT, {"content": b"null"}, 400, "bad_json"),
    (TEXT, {"content": b'{"texts": ["\xff\xfe"]}'}, 400, "bad_json"),
    (TEXT, {"content": b'{"texts": NaN}'}, 400, "bad_json"),
    (TEXT, {"content": b'{"texts": ["a"], "texts": ["b"]}'}, 400, "bad_json"),
    (TEXT, {"content": f'{{"texts": {deep(100)}}}'.encode()}, 400, "bad_json"),
    (TEXT, {"content": f'{{"texts": {deep(100_000)}}}'.encode()}, 400, "bad_json"),
    (TEXT, {"content": b'{"texts": ' + b"9" * 5000 + b"}"}, 400, "bad_json"),
    (TEXT, {"json": {}}, 422, "invalid_value"),
    (TEXT, {"json": {"texts": "a"}}, 422, "invalid_value"),
    (TEXT, {"json": {"texts": []}}, 422, "invalid_value"),
    (TEXT, {"json": {"texts": [1]}}, 422, "invalid_value"),
    (TEXT, {"json": {"texts": ["a", None]}}, 422, "invalid_value"),
    (TEXT, {"json": {"texts": [""]}}, 422, "invalid_value"),
    (TEXT, {"json": {"texts": ["  \n"]}}, 422, "invalid_value"),
    (TEXT, {"json": {"texts": ["a"] * 21}}, 413, "too_many_items"),
    (TEXT, {"json": {"texts": ["a" * 2001]}}, 413, "text_too_long"),
    (TEXT, {"json": {"texts": ["a" * 1_000_000]}}, 413, "body_too_large"),
    (TEXT, {"json": {"texts": ["a"], "txts": 1}}, 422, "invalid_value"),
    (TEXT, {"json": {"texts": ["a"], "model": "other"}}, 404, "no_such_model"),
    (TEXT, {"json": {"texts": ["a"], "model": 7}}, 422, "invalid_value"),
    (TEXT, {"json": {"texts": ["a"], "encoding_format": "hex"}}, 422, "invalid_value"),
    (TEXT, {"json": {"texts": ["a"], "encoding_format": ["float"]}}, 422, "invalid_value"),
    (TEXT, {"content": b"a", "headers": {"Content-Type": "text/plain"}}, 415, "wrong_content_type"),
    (TEXT, {"content": b"a", "headers": {"Content-Type": "image/png"}}, 415, "wrong_content_type"),
    (IMAGE, {"content": b"", "headers": {"Content-Type": "image/png"}}, 400, "bad_image"),
    (IMAGE, {"content": b"GIF89a", "headers": {"Content-Type": "image/png"}}, 415, "unknown_image_format"),
    (
        IMAGE,
        {"content": b"<svg/>", "headers": {"Content-Type": "image/svg+xml"}},
        415,
        "unknown_image_format",
    ),
    (IMAGE, {"content": bomb(), "headers": {"Content-Type": "image/png"}}, 413, "too_many_pixels"),
    (IMAGE, {"json": {"images": [{"url": "http://169.254.169.254/"}]}}, 400, "bad_url"),
    (IMAGE, {"json": {"images": [{"url": "a", "b": 1}]}}, 422, "invalid_value"),
    (IMAGE, {"json": {"images": ["data:image/png;base64,@@"]}}, 400, "bad_image"),
    (IMAGE, {"json": {"images": [""]}}, 400, "bad_image"),
    (IMAGE, {"json": {"images": {}}}, 422, "invalid_value"),
    (IMAGE, {"json": {}}, 422, "invalid_value"),
    (IMAGE, {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "bad_multipart"),
    (
        IMAGE,
        {
            "content": b"--b\r\nContent-Disposition: form-data\r\n",
            "headers": {"Content-Type": "multipart/form-data; boundary=b"},
        },
        400,
        "bad_multipart",
    ),
    (
        IMAGE,
        {"content": b"rubbish--b--", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
        400,
        "bad_multipart",
    ),
    (IMAGE, {"files": [("images", ("a", b""))] * 21}, 413, "too_many_items"),
    ("/v1/embeddings", {"json": {"input": [[1, 2]]}}, 422, "invalid_value"),
    ("/v1/embeddings", {"json": {"input": [1, 2]}}, 422, "invalid_value"),
    ("/v1/embeddings", {"json": {"input": {}}}, 422, "invalid_value"),
    ("/v1/embeddings", {"json": {"input": "a", "dimensions": True}}, 422, "invalid_value"),
    ("/v1/embeddings", {"json": {"input": ["data:image/png;base64,AAAA"]}}, 415, "unknown_image_format"),
    ("/rank", {"json": {"texts": ["a"]}}, 422, "invalid_value"),
    ("/rank", {"json": {"text": "a"}}, 422, "invalid_value"),
    ("/rank", {"json": {"image": coded(b"x"), "texts": ["a"]}}, 415, "unknown_image_format"),
    ("/rank", {"json": {"text": "a", "images": [coded(b"x")]}}, 415, "unknown_image_format"),
    ("/classify", {"json": {"image": coded(b"x"), "labels": []}}, 422, "invalid_value"),
    (
        "/classify",
        {"json": {"image": coded(b"x"), "labels": ["a"], "templates": ["b"]}},
        422,
        "invalid_value",
    ),
    (
        "/classify",
        {"json": {"image": coded(b"x"), "labels": ["a"] * 20, "templates": ["{}"] * 2}},
        413,
        "too_many_items",
    ),
    ("/models/reload", {"json": {"model": "other"}}, 403, "wrong_key"),
    ("/nowhere", {"json": {}}, 404, "no_such_path"),
    ("/models", {"json": {}}, 405, "wrong_method"),
]


@pytest.mark.parametrize(("path", "given", "status", "code"), BODIES)
def test_bad_requests_get_a_sentence_and_harm_nobody(
    ask: Ask, path: str, given: dict[str, Any], status: int, code: str
) -> None:
    if "content" in given and "headers" not in given:
        given = {**given, "headers": {"Content-Type": "application/json"}}
    answer = ask("POST", path, **given)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), error
    assert set(error) == {"code", "message", "param"}
    assert len(error["message"].splitlines()) == 1
    assert len(error["message"]) < 400
    assert "Traceback" not in json.dumps(error)
    assert ask("POST", TEXT, json={"texts": ["a red circle"]}).status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
def test_other_methods_are_refused_with_those_that_work(ask: Ask, method: str) -> None:
    answer = ask(method, TEXT)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "POST"


def test_a_declared_length_is_believed_where_it_is_too_large(ask: Ask) -> None:
    answer = ask(
        "POST", TEXT, content=b"{}", headers={"Content-Length": "9" * 30, "Content-Type": "application/json"}
    )
    assert answer.status_code == 413
