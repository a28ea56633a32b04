"""One line a request that says how it went, and nothing that it held."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from serving import logs
from serving.app import App
from serving.bodies import Body
from serving.call import Call
from serving.keys import Keys
from tests.serving.conftest import Ask

SECRET = "sesame-0123456789"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Log:
    def __init__(self, file: io.StringIO) -> None:
        self._file = file

    @property
    def text(self) -> str:
        return self._file.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def log() -> Iterator[Log]:
    """What the service logs, as JSON."""
    file = io.StringIO()
    handler = logging.StreamHandler(file)
    handler.setFormatter(logs.Json())
    had = (logs.log.handlers, logs.log.level, logs.log.propagate)
    logs.log.handlers, logs.log.propagate = [handler], False
    logs.log.setLevel(logging.INFO)
    yield Log(file)
    logs.log.handlers, logs.log.propagate = had[0], had[2]
    logs.log.setLevel(had[1])


def test_a_request_is_one_line(ask: Ask, log: Log) -> None:
    headers = {"X-Request-Id": "abc-1", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    ask("POST", "/encode/text", json={"texts": ["a", "b"]}, headers=headers)
    (line,) = log.lines
    assert line.pop("time").endswith("Z")
    assert line.pop("ms") > 0
    assert line == {
        "level": "info",
        "logger": "compressor.serving",
        "request_id": "abc-1",
        "method": "POST",
        "path": "/encode/text",
        "status": 200,
        "items": 2,
        "trace_id": TRACE,
    }


def test_nothing_of_what_was_sent_is_written(ask: Ask, log: Log, app: App) -> None:
    app.keys = Keys((SECRET,))
    bearer = {"Authorization": f"Bearer {SECRET}", "X-Request-Id": f"{SECRET} {SECRET}"}
    ask("GET", f"/{SECRET}", params={"q": SECRET}, headers=bearer)
    ask("GET", f"/gallery/{SECRET}/image", params={"model": SECRET}, headers=bearer)
    ask(SECRET[:6], "/models", headers=bearer)
    ask("POST", "/search", json={"text": SECRET, "filter": {SECRET: 1}, "k": SECRET}, headers=bearer)
    ask("POST", "/encode/text", json={"texts": [SECRET], SECRET: 1}, headers=bearer)
    ask("POST", "/encode/text", json={"texts": [SECRET]}, headers={"Authorization": f"Bearer {SECRET}x"})
    ask("GET", "/models", headers={**bearer, "traceparent": SECRET, "User-Agent": SECRET})
    assert [(line["method"], line["path"], line.get("code")) for line in log.lines] == [
        ("GET", "other", "no_such_path"),
        ("GET", "/gallery/{id}/image", "no_such_model"),
        ("other", "/models", "wrong_method"),
        ("POST", "/search", "invalid_value"),
        ("POST", "/encode/text", "invalid_value"),
        ("POST", "/encode/text", "wrong_key"),
        ("GET", "/models", None),
    ]
    assert SECRET[:6] not in log.text


def test_an_exception_is_told_by_type_and_place_and_not_in_its_words(
    ask: Ask, log: Log, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(call: Call) -> Any:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise RuntimeError(f"no {SECRET}") from error

    monkeypatch.setattr(Call, "embedder", fails)
    answer = ask("POST", "/encode/text", json={"texts": ["a"]})
    assert answer.status_code == 500
    (line,) = log.lines
    assert answer.json()["error"]["message"].endswith(line["request_id"])
    assert (line["level"], line["code"], line["error"]) == ("error", "internal", "RuntimeError")
    assert "KeyError" in line["raised"]
    assert any(place.endswith(" encode_text") for place in line["raised"])
    assert SECRET not in log.text + answer.text


def test_probes_that_are_well_are_not_written(ask: Ask, log: Log, app: App) -> None:
    assert ask("GET", "/livez").status_code == ask("GET", "/readyz").status_code == 200
    assert log.lines == []
    app.models.close()
    assert ask("GET", "/readyz").status_code == 503
    (line,) = log.lines
    assert (line["path"], line["status"], line["level"]) == ("/readyz", 503, "warning")


def test_text_is_one_line_too(log: Log) -> None:
    logs.log.handlers[0].setFormatter(logs.Text())
    entry = logs.Entry(
        "abc", "POST", "/rank", 500, "internal", 1.5, 3, error="ValueError", raised=["a:1 f", "b"]
    )
    logs.write(entry)
    (line,) = log.text.splitlines()
    assert line.split("Z ")[1] == (
        "ERROR POST /rank 500 request_id=abc code=internal ms=1.5 items=3 error=ValueError raised=a:1 f > b"
    )


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (Body(), 0),
        (Body(fields={"texts": ["a", "b"], "model": "m"}), 2),
        (Body(fields={"image": "x", "texts": ["a", "b"]}), 3),
        (Body(fields={"items": "[]"}, files={"images": [b"a", b"b"]}), 2),
        (Body(picture=b"a"), 1),
        (Body(fields={"input": "a"}), 1),
    ],
)
def test_items_are_counted(body: Body, count: int) -> None:
    assert logs.items_of(body) == count


@pytest.mark.parametrize(
    ("given", "trace"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", TRACE),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE}-00f067aa0ba902b7", None),
        ("", None),
    ],
)
def test_the_callers_trace_is_read(given: str, trace: str | None) -> None:
    assert logs.trace_of(given) == trace
