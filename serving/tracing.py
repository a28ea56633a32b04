"""A span a request, sent where OpenTelemetry's own variables say (`OTEL_...`); nothing without them.

BentoML would trace too, and write addresses with their queries and the ids of items into its spans.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from compressor import __version__
from serving.logs import Entry

log = logging.getLogger("compressor.serving")

_PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


class Tracing:
    """Spans of requests, from a provider of OpenTelemetry's SDK."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("compressor.serving", __version__)

    def begin(self, headers: Mapping[str, str], entry: Entry) -> Any:
        """The span of a request, within the trace that its caller names, if any."""
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind

        span = self._tracer.start_span(
            f"{entry.method} {entry.path}", context=extract(headers), kind=SpanKind.SERVER
        )
        entry.trace_id = format(span.get_span_context().trace_id, "032x")
        return span

    def end(self, span: Any, entry: Entry) -> None:
        """Note what the answer was. What the log does not say is not said here either."""
        from opentelemetry.trace import StatusCode

        facts = {
            "http.request.method": entry.method if entry.method != "other" else "_OTHER",
            "http.route": entry.path,
            "http.response.status_code": entry.status,
            "error.type": entry.error or entry.code,
            "compressor.request_id": entry.request_id,
            "compressor.items": entry.items,
        }
        span.set_attributes({name: value for name, value in facts.items() if value is not None})
        if entry.status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end()

    def close(self) -> None:
        """Send what was not sent yet."""
        self._provider.shutdown()


def from_environment(environment: Mapping[str, str] | None = None) -> Tracing | None:
    """Tracing as the variables ask for it; None where they do not, or their exporter is not installed."""
    found = os.environ if environment is None else environment
    name = _exporter(found)
    if name is None:
        return None
    exporters = list(entry_points(group="opentelemetry_traces_exporter", name=name))
    if not exporters:
        log.warning("nothing is traced: the exporter '%s' is not installed; docs/serving.md names it", name)
        return None
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = Resource({"service.name": "compressor", "service.version": __version__})
    provider = TracerProvider(resource=named.merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(exporters[0].load()()))
    return Tracing(provider)


def _exporter(found: Mapping[str, str]) -> str | None:
    """The name under which the exporter is installed."""
    if found.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    addresses = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    usual = "otlp" if any(found.get(name) for name in addresses) else "none"
    kind = found.get("OTEL_TRACES_EXPORTER") or usual
    if kind != "otlp":
        return None if kind == "none" else kind
    given = found.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or found.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    return _PROTOCOLS.get(given or "http/protobuf", given)
