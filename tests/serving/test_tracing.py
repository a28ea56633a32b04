"""Spans of requests, in the trace of their caller, without contents; none unless they are asked for."""

from __future__ import annotations

import logging

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from serving.app import App
from serving.tracing import Tracing, from_environment
from tests.serving.conftest import Ask

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def spans(app: App) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app.tracing = Tracing(provider)
    return exporter


def test_a_request_is_one_span_in_the_trace_of_its_caller(ask: Ask, spans: InMemorySpanExporter) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "abc"}
    ask("POST", "/encode/text?secret=1", json={"texts": ["secret", "b"]}, headers=headers)
    ask("GET", "/gallery/secret", params={"model": "secret"})
    first, second = spans.get_finished_spans()
    assert (first.name, first.kind) == ("POST /encode/text", SpanKind.SERVER)
    assert first.context is not None
    assert first.parent is not None
    assert format(first.context.trace_id, "032x") == TRACE
    assert format(first.parent.span_id, "016x") == PARENT
    assert dict(first.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/encode/text",
        "http.response.status_code": 200,
        "compressor.request_id": "abc",
        "compressor.items": 2,
    }
    assert second.name == "GET /gallery/{id}"
    assert second.parent is None
    assert (second.attributes or {})["error.type"] == "no_such_model"
    assert second.status.status_code is StatusCode.UNSET
    assert "secret" not in first.to_json() + second.to_json()


def test_what_fails_here_is_an_error_of_the_span(ask: Ask, app: App, spans: InMemorySpanExporter) -> None:
    app.models.close()
    assert ask("POST", "/encode/text", json={"texts": ["a"]}).status_code == 503
    (span,) = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"},
        {"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_nothing_is_traced_unless_it_is_asked_for(environment: dict[str, str]) -> None:
    assert from_environment(environment) is None


def test_an_exporter_that_is_not_installed_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert from_environment({"OTEL_TRACES_EXPORTER": "nowhere"}) is None
    assert "'nowhere' is not installed" in caplog.text


def test_the_variables_name_the_exporter() -> None:
    tracing = from_environment({"OTEL_TRACES_EXPORTER": "console"})
    assert tracing is not None
    tracing.close()
