from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from starlette.responses import JSONResponse

from compressor.client import ConnectionFailedError, ServiceError
from compressor.client.bodies import image_body, phrases, search_body, text_body
from compressor.client.load import Load, arrivals, measure, run
from compressor.client.tally import Tally
from compressor.errors import DataError
from tests.client.service import KEY, Service, nobody, refusal, running


def test_arrivals_are_a_poisson_process_of_the_rate() -> None:
    times = arrivals(200.0, 50.0, seed=3)
    gaps = np.diff(times)
    assert len(times) == pytest.approx(10_000, abs=400)  # four deviations
    assert gaps.mean() == pytest.approx(1 / 200, rel=0.05)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # of an exponential distribution
    assert np.all(gaps >= 0)
    assert times[0] >= 0
    assert times[-1] < 50


def test_arrivals_are_decided_by_the_seed() -> None:
    np.testing.assert_array_equal(arrivals(50.0, 3.0, 7), arrivals(50.0, 3.0, 7))
    assert not np.array_equal(arrivals(50.0, 3.0, 7)[:10], arrivals(50.0, 3.0, 8)[:10])


def test_a_rate_with_less_than_one_request_may_have_none() -> None:
    counts = [len(arrivals(0.01, 1.0, seed)) for seed in range(50)]
    assert min(counts) == 0


@pytest.mark.parametrize(
    ("load", "sentence"),
    [
        ({"clients": 1, "rate": 1.0}, "not both"),
        ({"clients": None}, "clients or a rate"),
        ({"clients": 0}, "from 1 to"),
        ({"clients": 10**6}, "from 1 to"),
        ({"clients": None, "rate": 0.0}, "above 0"),
        ({"clients": None, "rate": float("nan")}, "above 0"),
        ({"clients": None, "rate": float("inf")}, "above 0"),
        ({"clients": None, "rate": 1e9}, "at most 20,000,000 requests"),
        ({"seconds": 0.0}, "above 0"),
        ({"seconds": float("nan")}, "above 0"),
        ({"warmup": -1.0}, "at least 0"),
        ({"timeout": 0.0}, "above 0"),
        ({"seed": -1}, "at least 0"),
    ],
)
def test_loads_that_make_no_sense_are_refused(load: dict[str, float], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        Load(**load)  # type: ignore[arg-type]


class Stalling:
    """A service that answers at once, except that it stands still once, for everybody."""

    def __init__(self, at: float, seconds: float) -> None:
        self._at, self._seconds, self._start = at, seconds, 0.0
        self.sent: list[int] = []

    async def __call__(self, number: int) -> str | None:
        now = time.monotonic()
        self._start = self._start or now
        self.sent.append(number)
        until = self._start + self._at + self._seconds
        if self._start + self._at <= now < until:
            await asyncio.sleep(until - now)
        return None


def counted(send: Callable[[int], Awaitable[str | None]], load: Load) -> Tally:
    tally = Tally()
    asyncio.run(run(send, load, tally))
    return tally


def test_a_stall_is_charged_for_every_request_that_arrived_meanwhile() -> None:
    """The service stands still for 0.6 of 1.8 seconds: a third of all arrivals wait, half of that time in the
    mean. Four clients that wait for their answers meet the stall four times."""
    opened = counted(Stalling(0.6, 0.6), Load(None, 100.0, seconds=1.8, warmup=0.0)).percentiles()
    closed = counted(Stalling(0.6, 0.6), Load(4, None, seconds=1.8, warmup=0.0)).percentiles()
    assert opened is not None
    assert closed is not None
    assert opened.p99 > 500
    assert opened.p90 > 250
    assert opened.p50 < 200
    assert closed.p99 < 200
    assert closed.max > 500


def test_requests_of_the_warm_up_are_not_counted() -> None:
    async def bad_at_first(number: int) -> str | None:
        sent.append(number)
        await asyncio.sleep(0.01)
        return "cold" if time.monotonic() - start < 0.3 else None

    for load in (Load(None, 100.0, seconds=0.3, warmup=0.6), Load(2, None, seconds=0.3, warmup=0.6)):
        start, sent = time.monotonic(), list[int]()
        tally = counted(bad_at_first, load)
        assert tally.errors == {}
        assert 0 < len(tally.latencies) < len(sent)
        assert tally.unfinished == 0


def test_errors_are_counted_by_kind_and_have_no_latency() -> None:
    async def failing(number: int) -> str | None:
        await asyncio.sleep(0)
        return [None, "429 overloaded", "closed", "429 overloaded"][number % 4]

    tally = counted(failing, Load(None, 200.0, seconds=0.5, warmup=0.0, seed=1))
    number = len(arrivals(200.0, 0.5, 1))
    assert len(tally.latencies) == (number + 3) // 4
    assert tally.failed == number - len(tally.latencies)
    assert list(dict(tally.errors.most_common())) == ["429 overloaded", "closed"]


def test_kinds_of_errors_without_end_are_one_kind() -> None:
    tally = Tally()
    for number in range(1000):
        tally.sent()
        tally.ended(0.0, 0.0, f"418 {number}")
    assert len(tally.errors) == 51
    assert tally.errors["other"] == 950


def test_a_request_without_an_answer_in_time_is_a_timeout() -> None:
    async def never(number: int) -> str | None:
        await asyncio.sleep(3600)
        return None

    for load in (
        Load(None, 50.0, seconds=0.2, warmup=0.0, timeout=0.1),
        Load(3, None, seconds=0.15, warmup=0.0, timeout=0.1),
    ):
        tally = counted(never, load)
        assert set(tally.errors) == {"timeout"}
        assert tally.percentiles() is None


def test_percentiles_are_latencies_that_were_measured() -> None:
    tally = Tally()
    for latency in np.random.default_rng(0).permutation(np.arange(1, 201)):
        tally.sent()
        tally.ended(latency / 1e3, 0.0, None)
    found = tally.percentiles()
    assert found is not None
    measured = (found.p50, found.p90, found.p95, found.p99, found.max)
    assert measured == pytest.approx((100, 180, 190, 198, 200))
    assert found.mean == pytest.approx(100.5)


def test_a_request_leaves_one_number_behind() -> None:
    async def at_once(number: int) -> str | None:
        await asyncio.sleep(0)
        return None

    tally = Tally()
    times = len(arrivals(20_000.0, 0.5, 0))
    tracemalloc.start()
    asyncio.run(run(at_once, Load(None, 20_000.0, seconds=0.5, warmup=0.0), tally))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(tally.latencies) == times
    assert held / times < 30


def test_a_closed_loop_over_real_connections() -> None:
    service = Service(remember=False)
    with running(service.app()) as url:
        report = measure(url, text_body(), Load(4, None, seconds=0.6, warmup=0.2))
    assert report.loop == "closed"
    assert report.errors == {}
    assert 0 < report.good < service.count
    assert report.latency_ms is not None
    assert 0 < report.latency_ms.p50 <= report.latency_ms.p99 <= report.latency_ms.max
    assert report.throughput == pytest.approx(report.good / report.measured)
    told = json.loads(report.json())
    assert told["good"] == report.good
    assert told["latency_ms"]["p99"] == report.latency_ms.p99


def test_an_open_loop_over_real_connections_shows_a_stall() -> None:
    stalled = threading.Event()

    async def stall() -> None:
        if service.count > 20 and not stalled.is_set():
            stalled.set()
            time.sleep(1.0)  # the whole server stands still

    service = Service(remember=False, delay=stall)
    with running(service.app()) as url:
        report = measure(url, text_body(), Load(None, 60.0, seconds=2.5, warmup=0.0))
    assert stalled.is_set()
    assert report.errors == {}
    assert report.good == len(arrivals(60.0, 2.5, 0))
    assert report.latency_ms is not None
    assert report.latency_ms.p99 > 800
    assert report.late_ms is not None
    assert report.late_ms[0] < 300, "the generator itself stood still"


def test_every_kind_of_body_is_what_the_service_takes() -> None:
    service = Service()
    with running(service.app()) as url:
        for body in (text_body("teacher"), image_body(b"a picture", "teacher"), search_body(3, "teacher")):
            report = measure(url, body, Load(1, None, seconds=0.1, warmup=0.0))
            assert report.good > 0
            assert report.errors == {}
    assert set(service.models) == {"teacher"}
    assert {path for _, path in service.requests} == {"/encode/text", "/encode/image", "/search"}
    assert len(set(phrases())) == 64


def test_refusals_under_load_are_counted_and_the_first_does_not_end_it() -> None:
    service = Service(remember=False)
    service.script = [None, *(refusal(429, "overloaded", "full") for _ in range(5)), JSONResponse({}, 500)]
    with running(service.app()) as url:
        report = measure(url, text_body(), Load(1, None, seconds=1.5, warmup=0.0))
    assert report.errors == {"429 overloaded": 5, "500 http_500": 1}
    assert report.good > 0


def test_a_service_that_ends_under_load_is_counted() -> None:
    service = Service(remember=False)

    def told(elapsed: float, tally: Tally) -> None:
        if elapsed > 0.4 and not ended.is_set():
            ended.set()
            server.__exit__(None, None, None)

    ended = threading.Event()
    server = running(service.app())
    url = server.__enter__()
    report = measure(url, text_body(), Load(2, None, seconds=1.2, warmup=0.0), told=told)
    assert report.good > 0
    assert report.errors["refused"] > 0
    assert report.errors["refused"] < 100, "it went on as fast as it was refused"


def test_a_load_needs_a_service_that_takes_it() -> None:
    load = Load(1, None, seconds=0.1, warmup=0.0)
    with pytest.raises(ConnectionFailedError) as caught:
        measure(nobody(), text_body(), load)
    assert caught.value.kind == "refused"
    with running(Service(key=KEY).app()) as url:
        with pytest.raises(ServiceError, match="401 no_key"):
            measure(url, text_body(), load)
        assert measure(url, text_body(), load, key=KEY).good > 0
    with pytest.raises(DataError, match="address"):
        measure("nowhere", text_body(), load)
    with pytest.raises(DataError, match="empty"):
        image_body(b"")


def test_an_interrupted_load_reports_what_was_measured() -> None:
    def told(elapsed: float, tally: Tally) -> None:
        if elapsed > 0.5:
            signal.raise_signal(signal.SIGINT)

    async def slow() -> None:
        await asyncio.sleep(0.02)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        with running(Service(remember=False, delay=slow).app()) as url:
            report = measure(url, text_body(), Load(3, None, seconds=60.0, warmup=0.1), told=told)
    finally:
        signal.signal(signal.SIGINT, before)
    assert report.interrupted
    assert report.good > 0
    assert report.unfinished <= 3
    assert 0.3 < report.measured < 5
