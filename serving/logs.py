"""One line a request, as text or JSON, without contents.

No body, no query, no key, no id of an item, and no message of an exception, which may quote any of them: its
type and where it was raised. Of what a caller wrote only the ids of the request and of its trace are kept,
both of a form that holds nothing else.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from traceback import extract_tb
from typing import Any, Literal

from serving.bodies import Body

log = logging.getLogger("compressor.serving")

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_PROBES = ("/livez", "/readyz")
_ITEMS = ("image", "images", "input", "items", "ids", "labels", "questions", "text", "texts")


@dataclass
class Entry:
    """What log, metrics and traces tell of a request. `path`: of the endpoint, `/gallery/{id}`."""

    request_id: str
    method: str
    path: str
    status: int = 0
    code: str | None = None
    """Of the error that was the answer."""
    ms: float = 0.0
    items: int | None = None
    """Texts and pictures, as far as the body was read."""
    trace_id: str | None = None
    error: str | None = None
    """Type of an exception that nobody expected."""
    raised: list[str] | None = None

    def failed(self, error: BaseException) -> None:
        """Note an exception: its type and those of its causes, and the lines that it passed."""
        self.error, self.raised = type(error).__name__, list(_passed(error))

    def facts(self) -> dict[str, Any]:
        """All that is known."""
        return {name: value for name, value in vars(self).items() if value is not None}


def method_of(given: str) -> str:
    """A method as the log has it: callers make up others."""
    return given if given in _METHODS else "other"


def trace_of(traceparent: str) -> str | None:
    """The trace that a caller names (W3C Trace Context)."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return found[1] if found and int(found[1], 16) else None


def items_of(body: Body) -> int:
    """How many texts, pictures and ids a body holds."""
    listed = (body.fields[name] for name in _ITEMS if name in body.fields and name not in body.files)
    count = sum(len(value) if isinstance(value, list) else 1 for value in listed)
    files = sum(map(len, body.files.values()))
    return (files or count) + (body.picture is not None)


def write(entry: Entry) -> None:
    """One line. Probes that are well have none: they come every few seconds."""
    if entry.path in _PROBES and entry.status == 200:
        return
    level = logging.INFO
    if entry.status >= 500:
        level = logging.ERROR if entry.status == 500 else logging.WARNING
    log.log(level, "%s %s %d", entry.method, entry.path, entry.status, extra={"entry": entry})


def configure(form: Literal["text", "json"]) -> None:
    """Write to the standard output; as JSON also whatever else this process logs."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(Json() if form == "json" else Text())
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
    logging.getLogger("uvicorn.access").disabled = True  # it would write queries
    logging.getLogger("uvicorn.error").propagate = False  # BentoML would write its lines twice
    if form == "json":
        for name in ("", "bentoml", "uvicorn.error", "circus"):
            for other in logging.getLogger(name).handlers:
                other.setFormatter(Json())


class Text(logging.Formatter):
    """`2026-01-01T00:00:00.000Z INFO POST /encode/image 200 ms=12.3 items=2 request_id=...`"""

    def format(self, record: logging.LogRecord) -> str:
        facts = _facts(record)
        head = " ".join((_time(record), record.levelname, record.getMessage()))
        facts = {name: value for name, value in facts.items() if name not in ("method", "path", "status")}
        if "raised" in facts:
            facts["raised"] = " > ".join(facts["raised"])
        return " ".join((head, *(f"{name}={value}" for name, value in facts.items())))


class Json(logging.Formatter):
    """An object a line: `time`, `level`, `logger`; the facts of a request or the `message` of another."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name}
        line |= _facts(record) or {"message": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    entry = getattr(record, "entry", None)
    return entry.facts() if isinstance(entry, Entry) else {}


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _passed(error: BaseException) -> Iterator[str]:
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield from _passed(cause)
    for frame in extract_tb(error.__traceback__):
        yield f"{frame.filename}:{frame.lineno} {frame.name}"
    yield type(error).__name__
