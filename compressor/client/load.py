"""How fast a service answers: a load of requests as strangers send them, or as N clients that wait.

In an open loop the requests arrive as a Poisson process that was drawn beforehand, whether earlier ones were
answered or not, and a latency counts from the *scheduled* arrival: a service that stalls is charged with all
requests that arrived meanwhile. In a closed loop each client sends its next request when it has its answer: a
stalled service is then not asked, so that high percentiles look better than strangers would find them
(coordinated omission). The closed loop shows the highest throughput, the open one the latency.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compressor.client import http
from compressor.client.bodies import LoadBody
from compressor.client.lanes import Lanes
from compressor.client.tally import LoadReport, Tally
from compressor.client.wire import service_error
from compressor.errors import DataError

Send = Callable[[int], Awaitable[str | None]]
"""Sends request number n and waits for its answer; None for a good one, else the kind of the error."""
Told = Callable[[float, Tally], None]
"""Told of the progress: seconds since the warm-up began, and what was counted so far."""

_MOST_REQUESTS = 20_000_000
_MOST_LANES = 4_096
_AFTER_REFUSAL = 0.05
"""Seconds that a client of a closed loop waits where nobody listens: it would only count refusals."""
_TELL_EVERY = 0.25
_PASSING = (429, 503, 504)


@dataclass(frozen=True, slots=True)
class Load:
    """A load: `clients` of a closed loop, or the `rate` (requests a second) of an open one.

    `seconds` are measured, after `warmup` seconds that are not. `timeout`: seconds after which a request
    counts as an error. `seed`: of the arrivals. Raises `DataError` for what makes no sense.
    """

    clients: int | None = 8
    rate: float | None = None
    seconds: float = 20.0
    warmup: float = 2.0
    timeout: float = 30.0
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.clients is None) == (self.rate is None):
            raise DataError("a load has a number of clients or a rate, and not both")
        if self.clients is not None and not 1 <= self.clients <= _MOST_LANES:
            raise DataError(f"clients are from 1 to {_MOST_LANES:,}, not {self.clients:,}")
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise DataError(f"a rate is a number of requests a second above 0, not {self.rate}")
        if not (0 < self.seconds < math.inf and 0 < self.timeout < math.inf and 0 <= self.warmup < math.inf):
            raise DataError("seconds and timeout are above 0, warm-up at least 0")
        if self.seed < 0:
            raise DataError(f"a seed is at least 0, not {self.seed}")
        if (self.rate or 0.0) * (self.seconds + self.warmup) > _MOST_REQUESTS:
            raise DataError(f"a load has at most {_MOST_REQUESTS:,} requests; lower the rate or the seconds")


def measure(
    url: str, body: LoadBody, load: Load, *, key: str | None = None, told: Told | None = None
) -> LoadReport:
    """Put a load on the service at `url`. After Ctrl-C: what was measured until then.

    One request is sent before the load. Raises `ConnectionFailedError` where that finds no service,
    `ServiceError` where the service refuses it (and is not merely busy), `DataError` for a bad address.
    """
    tally = Tally()
    interrupted = False
    try:
        asyncio.run(_measure(url, body, load, key, told, tally))
    except KeyboardInterrupt:
        if not tally.begun:
            raise
        interrupted = True
    measured = max(tally.last - tally.begun, 0.0 if interrupted else load.seconds)
    return LoadReport(
        url=url,
        kind=body.kind,
        loop="closed" if load.rate is None else "open",
        clients=load.clients,
        rate=load.rate,
        seconds=load.seconds,
        warmup=load.warmup,
        timeout=load.timeout,
        seed=load.seed,
        measured=measured,
        good=len(tally.latencies),
        errors=dict(tally.errors.most_common()),
        unfinished=tally.unfinished,
        throughput=len(tally.latencies) / measured if measured else 0.0,
        latency_ms=tally.percentiles(),
        late_ms=None if load.rate is None else tally.late_ms(),
        generator=tally.generator,
        interrupted=interrupted,
    )


async def _measure(
    url: str, body: LoadBody, load: Load, key: str | None, told: Told | None, tally: Tally
) -> None:
    base = http.base_url(url)
    async with Lanes(base, body, http.headers(key), load.clients or _most_lanes()) as lanes:
        try:
            async with asyncio.timeout(load.timeout):
                reply = await lanes.exchange(0)
        except TimeoutError as error:
            raise http.timed_out(http.place(base)) from error
        if not reply.good and reply.status not in _PASSING:
            raise service_error(reply)
        with _telling(told, tally):
            await run(lanes.send, load, tally)


async def run(send: Send, load: Load, tally: Tally) -> None:
    """Send a load and count what comes of it, until the last request has been answered or given up."""
    wall, busy = time.perf_counter(), time.process_time()
    try:
        if load.clients is None:
            await _open_loop(send, load, tally)
        else:
            await _closed_loop(send, load, load.clients, tally)
    except asyncio.CancelledError:  # Ctrl-C: measured until now
        tally.last = asyncio.get_running_loop().time()
        raise
    finally:
        tally.generator = (time.process_time() - busy) / max(time.perf_counter() - wall, 1e-9)


def arrivals(rate: float, seconds: float, seed: int) -> npt.NDArray[np.float64]:
    """The times in [0, seconds) at which requests arrive, a Poisson process of `rate` a second."""
    random = np.random.default_rng(seed)
    most = rate * seconds
    gaps = random.exponential(1 / rate, math.ceil(most + 10 * math.sqrt(most) + 20))
    times = np.cumsum(gaps)
    return times[: int(np.searchsorted(times, seconds))]


async def _open_loop(send: Send, load: Load, tally: Tally) -> None:
    clock = asyncio.get_running_loop().time
    times = arrivals(load.rate or 0.0, load.warmup + load.seconds, load.seed)
    start = clock()
    tally.begun = start + load.warmup

    async def one(number: int, due: float, counted: bool) -> None:
        if counted:
            tally.sent(clock() - due)
        error = await _within(due + load.timeout, send, number)
        if counted:
            tally.ended(clock() - due, clock(), error)

    async with asyncio.TaskGroup() as group:
        for number, scheduled in enumerate(times):
            due = start + float(scheduled)
            await asyncio.sleep(max(0.0, due - clock()))  # also where it is late: answers must come in
            group.create_task(one(number, due, due >= tally.begun))


async def _closed_loop(send: Send, load: Load, clients: int, tally: Tally) -> None:
    clock = asyncio.get_running_loop().time
    start = clock()
    tally.begun = start + load.warmup
    end = tally.begun + load.seconds

    async def client(first: int) -> None:
        number = first
        while (sent := clock()) < end:
            counted = sent >= tally.begun
            if counted:
                tally.sent()
            error = await _within(sent + load.timeout, send, number)
            if counted:
                tally.ended(clock() - sent, clock(), error)
            number += clients
            await asyncio.sleep(_AFTER_REFUSAL if error in ("refused", "tls") else 0)

    async with asyncio.TaskGroup() as group:
        for first in range(clients):
            group.create_task(client(first))


async def _within(until: float, send: Send, number: int) -> str | None:
    try:
        async with asyncio.timeout_at(until):
            return await send(number)
    except TimeoutError:
        return "timeout"


@contextlib.contextmanager
def _telling(told: Told | None, tally: Tally) -> Iterator[None]:
    """Call `told` a few times a second."""
    loop = asyncio.get_running_loop()
    start, handle = loop.time(), None

    def tell() -> None:
        nonlocal handle
        assert told is not None
        told(loop.time() - start, tally)
        handle = loop.call_later(_TELL_EVERY, tell)

    if told is not None:
        tell()
    try:
        yield
    finally:
        if handle is not None:
            handle.cancel()


def _most_lanes() -> int:
    """Connections that may be open at once: a part of the files that the process may have open."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 500
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST_LANES if allowed < 0 else max(1, min(_MOST_LANES, allowed - 64))
