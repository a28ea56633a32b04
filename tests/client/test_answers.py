"""Answers that do not follow the description: one sentence each, never another exception."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from compressor.client import BadAnswerError, ClientError, NewItem, ServiceError, calls
from compressor.client.chunks import Limits
from compressor.client.wire import Call, Reply, form_request, service_error
from tests.client.conftest import Ask
from tests.client.service import Service

OCTETS = "application/octet-stream"


def octets(content: bytes, shape: str | None, kind: str = OCTETS) -> Response:
    return Response(content, 200, {} if shape is None else {"X-Shape": shape}, kind)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (octets(b"\0" * 16, "2,2", "text/html"), "is 'text/html' instead of"),
        (octets(b"\0" * 16, None), "no X-Shape"),
        (octets(b"\0" * 16, "2"), "no X-Shape"),
        (octets(b"\0" * 16, "-2,2"), "no X-Shape"),
        (octets(b"\0" * 16, "4,1"), "4 rows of 1 numbers for 2 items"),
        (octets(b"", "2,0"), "2 rows of 0 numbers"),
        (octets(b"\0" * 15, "2,2"), "15 bytes for 2 rows of 2 numbers"),
        (octets(b"", "2,999999999"), "0 bytes for 2 rows"),
    ],
)
def test_rows_that_are_none(ask: Ask, service: Service, answer: Response, sentence: str) -> None:
    service.script = [answer]
    with pytest.raises(BadAnswerError, match=f"POST /encode/text: the answer .*{sentence}"):
        ask(service, "embed_texts", ["a", "b"])
    assert len(service.requests) == 1


def test_a_model_that_changes_between_two_requests_is_noticed(ask: Ask, service: Service) -> None:
    service.script = [None, octets(b"\0" * 8, "1,2")]
    with pytest.raises(BadAnswerError, match="changed its model"):
        ask(service, "embed_texts", ["a", "b"], options={"batch": 1})


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not a JSON object"),
        ("{}", "no list 'results'"),
        ('{"results": {}}', "no list 'results'"),
        ('{"results": [1]}', "an object belongs"),
        ('{"results": [{"index": 0}]}', "no number 'cosine'"),
        ('{"results": [{"index": true, "cosine": 1}]}', "no whole number 'index'"),
        ('{"results": [{"index": -1, "cosine": 1}]}', "no whole number 'index'"),
        ('{"results": [{"index": 0, "cosine": NaN}]}', "no finite number 'cosine'"),
        ('{"results": [{"index": 0, "cosine": 1e999}]}', "no finite number 'cosine'"),
        ('{"results": [{"index": 0, "error": "no"}]}', "no object 'error'"),
        ('{"results": [{"index": 0, "error": {"code": 1}}]}', "no string 'code'"),
        ('{"results": []}', "no string 'model'"),
    ],
)
def test_json_that_is_none(ask: Ask, service: Service, content: str, sentence: str) -> None:
    service.script = [Response(content, 200, media_type="application/json")]
    with pytest.raises(BadAnswerError, match=f"^POST /rank: the answer .*{sentence}"):
        ask(service, "rank", image=b"a", texts=["a"])


@pytest.mark.parametrize("indices", [[], [0, 0], [0, 2], [0, 1, 1, 5]])
def test_items_without_a_result_of_their_own_are_noticed(
    ask: Ask, service: Service, indices: list[int]
) -> None:
    results = [{"index": index, "id": str(index)} for index in indices]
    service.script = [JSONResponse({"added": len(indices), "results": results})]
    with pytest.raises(BadAnswerError, match="POST /gallery: the answer has"):
        ask(service, "gallery_add", [NewItem("0", b"a"), NewItem("1", b"b")])


def test_a_thumbnail_that_is_no_picture_is_noticed(ask: Ask, service: Service) -> None:
    service.script = [JSONResponse({})]
    with pytest.raises(BadAnswerError, match="is no picture"):
        ask(service, "gallery_image", "a")


@pytest.mark.parametrize(
    ("status", "content", "sentence"),
    [
        (502, b"<html>proxy</html>", "502 http_502: Bad Gateway, without"),
        (413, b"", "413 http_413: "),
        (400, b'{"error": "no"}', "400 http_400: Bad Request"),
        (400, b'{"error": {"code": 5, "message": "no"}}', "400 http_400: "),
        (400, b'{"error": {"code": "bad_json", "message": null, "param": 3}}', "400 bad_json: no message"),
        (307, b"", "307 http_307: Temporary Redirect"),
        (799, b"", "799 http_799: an unknown status"),
        (422, b'{"error": {"code": "a", "message": "one\\ntwo\\u001b[31m"}}', r"422 a: one two \[31m$"),
    ],
)
def test_an_error_of_any_form_is_one_sentence(status: int, content: bytes, sentence: str) -> None:
    error = service_error(Reply(status, {}, content))
    assert error.status == status
    assert re.search(sentence, str(error)), str(error)


def test_an_endless_message_is_cut() -> None:
    content = json.dumps({"error": {"code": "long", "message": "a" * 10**6}}).encode()
    assert len(str(service_error(Reply(400, {}, content)))) < 600


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["results", "index", "model", "error", "code", "id", "items", "count", "metadata", "took_ms"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
CALLS: list[Call[Any]] = [
    calls.rank(b"a", ["a"], None, None, None),
    calls.classify(b"a", ["a"], None, None),
    calls.search("a", None, 1, None, None),
    calls.gallery_list(1, None),
    calls.gallery_get("a"),
    calls.answer(b"a", ["a"], None),
    calls.models(),
    next(calls.gallery_add([calls.NewItem("a", b"a")], None, Limits()).calls),
    next(calls.caption([b"a"], None, None, None, Limits()).calls),
    next(calls.gallery_delete(["a"]).calls),
]


@given(JSON_VALUES, st.sampled_from(CALLS), st.sampled_from([200, 400, 404, 500]))
def test_no_answer_leads_to_an_unexpected_exception(value: Any, call: Call[Any], status: int) -> None:
    sentence = ""
    try:
        call.result(Reply(status, {}, json.dumps(value).encode()))
    except ClientError as error:
        sentence = str(error)
    assert "\n" not in sentence


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.text(max_size=20))
def test_a_form_is_read_back_as_it_was(files: list[bytes], value: str) -> None:
    value = value.encode("utf-8", "ignore").decode()
    request = form_request("/gallery", {"items": value, "model": None}, "images", files)
    headers = [(name.lower().encode(), text.encode()) for name, text in request.headers.items()]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": request.content, "more_body": False}

    async def parsed() -> tuple[list[bytes], dict[str, Any]]:
        scope = {"type": "http", "method": "POST", "headers": headers}
        async with Request(scope, receive).form() as form:
            found = [await each.read() for each in form.getlist("images") if not isinstance(each, str)]
            return found, {name: each for name, each in form.multi_items() if isinstance(each, str)}

    assert asyncio.run(parsed()) == (files, {"items": value})


def test_errors_keep_their_parts() -> None:
    error = ServiceError(422, "invalid_value", "is empty", "texts[0]", 2.0)
    assert (error.status, error.code, error.message, error.param) == (
        422,
        "invalid_value",
        "is empty",
        "texts[0]",
    )
    assert (error.retry_after, error.exit_code) == (2.0, 2)
