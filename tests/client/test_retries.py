from __future__ import annotations

import socket
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response

from compressor.client import ConnectionFailedError, NewItem, Retries, ServiceError
from compressor.client.retries import Attempts, retry_after
from compressor.errors import DataError
from tests.client.conftest import QUICK, Ask
from tests.client.service import Service, nobody, refusal, socket_server


def overloaded(**headers: str) -> Response:
    return refusal(429, "overloaded", "the queue is full", **headers)


@pytest.mark.parametrize("status", [429, 503])
def test_a_service_that_is_full_or_not_ready_is_asked_again(ask: Ask, service: Service, status: int) -> None:
    service.script = [refusal(status, "overloaded", "later"), refusal(status, "overloaded", "later")]
    assert ask(service, "embed_texts", ["a"]).shape == (1, 6)
    assert len(service.requests) == 3


def test_attempts_are_bounded_and_the_last_error_is_told(ask: Ask, service: Service) -> None:
    service.script = [overloaded() for _ in range(9)]
    with pytest.raises(ServiceError) as caught:
        ask(service, "embed_texts", ["a"])
    assert str(caught.value) == "the service answered 429 overloaded: the queue is full"
    assert len(service.requests) == QUICK.attempts


@pytest.mark.parametrize("status", [400, 401, 404, 409, 413, 422, 500, 502, 504])
def test_nothing_else_is_asked_again(ask: Ask, service: Service, status: int) -> None:
    service.script = [refusal(status, "wrong", "no")]
    with pytest.raises(ServiceError) as caught:
        ask(service, "embed_texts", ["a"])
    assert caught.value.status == status
    assert len(service.requests) == 1


def test_adding_is_repeated_with_the_same_content(ask: Ask, service: Service) -> None:
    service.script = [overloaded(), refusal(503, "shutting_down", "later")]
    added = ask(service, "gallery_add", [NewItem("a", b"picture", {"year": 1})])
    assert (added.added, len(service.requests)) == (1, 3)
    assert service.gallery["a"]["metadata"] == {"year": 1}


def test_retry_after_is_waited_for(ask: Ask, service: Service) -> None:
    service.script = [overloaded(Retry_After="1")]
    start = time.monotonic()
    ask(service, "embed_texts", ["a"])
    assert time.monotonic() - start >= 1


def test_a_retry_after_beyond_the_deadline_is_not_waited_for(ask: Ask, service: Service) -> None:
    service.script = [overloaded(Retry_After="3600")]
    with pytest.raises(ServiceError) as caught:
        ask(service, "embed_texts", ["a"])
    assert caught.value.retry_after == 3600
    assert len(service.requests) == 1


def test_a_service_that_starts_late_is_found(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens at first: each attempt is refused, which is safe to repeat."""
    waits: list[float] = []
    real = Attempts.wait

    def counted(self: Attempts, *arguments: object) -> float | None:
        wait = real(self, *arguments)  # type: ignore[arg-type]
        waits.append(-1.0 if wait is None else wait)
        return wait

    monkeypatch.setattr(Attempts, "wait", counted)
    with pytest.raises(ConnectionFailedError):
        ask(nobody(), "embed_texts", ["a"])
    assert [wait >= 0 for wait in waits] == [True] * (QUICK.attempts - 1) + [False]


def test_a_connection_that_ends_before_its_answer_is_not_repeated(ask: Ask) -> None:
    connections = []

    def hang_up(connection: socket.socket) -> None:
        connections.append(connection.recv(65536))

    with socket_server(hang_up) as url, pytest.raises(ConnectionFailedError) as caught:
        ask(url, "embed_texts", ["a"])
    assert caught.value.kind == "closed"
    assert len(connections) == 1


def test_an_answer_that_is_cut_off_is_a_closed_connection(ask: Ask) -> None:
    def cut(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")

    with socket_server(cut) as url, pytest.raises(ConnectionFailedError) as caught:
        ask(url, "models")
    assert caught.value.kind == "closed"


def test_what_is_no_http_is_said_so(ask: Ask) -> None:
    def chatter(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"220 mail.example.com ESMTP\r\n\r\n")

    with socket_server(chatter) as url, pytest.raises(ConnectionFailedError) as caught:
        ask(url, "models")
    assert caught.value.kind == "protocol"
    assert "\n" not in str(caught.value)


def test_a_service_that_does_not_answer_is_given_up(ask: Ask) -> None:
    def silence(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.recv(65536)  # returns when the client goes away

    with socket_server(silence) as url, pytest.raises(ConnectionFailedError) as caught:
        ask(url, "models", options={"timeout": 0.2})
    assert caught.value.kind == "timeout"


def test_an_answer_that_trickles_is_given_up(ask: Ask) -> None:
    """Every single byte comes in time, the answer does not."""

    def trickle(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        for _ in range(100):
            connection.sendall(b" ")
            time.sleep(0.05)

    start = time.monotonic()
    with socket_server(trickle) as url, pytest.raises(ConnectionFailedError) as caught:
        ask(url, "models", options={"timeout": 0.3})
    assert caught.value.kind == "timeout"
    assert time.monotonic() - start < 4


def test_the_deadline_holds_over_all_attempts() -> None:
    error = ServiceError(429, "overloaded", "later")
    attempts = Attempts(Retries(attempts=100, first=1.0, longest=8.0, deadline=20.0), now=100.0)
    now, waits = 100.0, []
    while (wait := attempts.wait(error, now, 0.5)) is not None:
        waits.append(wait)
        now += wait
    assert waits == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0]
    assert now < 120
    assert attempts.timeout(30.0, now) == pytest.approx(120 - now)


@given(st.integers(1, 300), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_a_share_of_the_doubled_time(made: int, share: float) -> None:
    attempts = Attempts(Retries(attempts=1000, first=0.5, longest=10.0, deadline=1e6), 0.0)
    wait: float | None = None
    for _ in range(made):
        wait = attempts.wait(ServiceError(503, "no", "no", retry_after=2.0), 0.0, share)
    assert wait == pytest.approx(2.0 + share * min(10.0, 0.5 * 2.0 ** min(made - 1, 10)))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3.0),
        (" 0 ", 0.0),
        ("Sat, 01 Jan 2000 00:00:30 GMT", 30.0),
        ("Fri, 31 Dec 1999 23:59:00 GMT", 0.0),
        (None, None),
        ("", None),
        ("-5", None),
        ("1e9", None),
        ("soon", None),
        ("²", None),
        ("9" * 400, 9999999999.0),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, datetime(2000, 1, 1, tzinfo=UTC)) == seconds


@given(st.text())
def test_retry_after_of_any_text_is_nothing_worse_than_none(header: str) -> None:
    found = retry_after(header)
    assert found is None or found >= 0


def test_retries_that_make_no_sense_are_refused() -> None:
    with pytest.raises(DataError, match="at least one attempt"):
        Retries(attempts=0)
    with pytest.raises(DataError, match="wait"):
        Retries(first=2.0, longest=1.0)
    with pytest.raises(DataError, match="wait"):
        Retries(deadline=0.0)
