"""Rows of many requests through one model: batches that grow with the load, a queue that is bounded.

Whatever waits when the model is free makes the next batch, up to the size that a lane allows: a lone
request runs at once, and under load batches fill by themselves. Only where rows are known to be on their
way, pictures that wait to be decoded, does a small batch wait for them a moment. Lanes (pictures, texts,
...) share the threads that run models, so that they do not fight for the cores; whose oldest row has
waited longest is next.

The queue is counted in rows over all lanes. Beyond its capacity a request is refused at once, with an
estimate of when it is worth coming back. A request whose deadline passes, or whose caller has gone,
leaves the queue without being run.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.priority import give_way

Rows = NDArray[Any]
Run = Callable[[Rows], Rows]
Clock = Callable[[], float]
Observe = Callable[[str, int, float, float, int], None]
"""Lane, rows of a batch, seconds that its oldest row waited, seconds that it ran, rows that still wait."""


_ENOUGH = 8
"""Rows that a batch does not wait for more with: most of what a batch saves is saved by then."""
_PATIENCE = 0.01
"""Seconds that a row waits for more."""


class OverloadedError(Exception):
    """The queue is full. `retry_after`: seconds until what waits now will have been run, about."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"the queue is full; try again in {retry_after:.0f} s")
        self.retry_after = retry_after


class DeadlineError(Exception):
    """The deadline passed before the rows were run."""


class ClosedError(Exception):
    """The engine takes no more rows."""


@dataclass(frozen=True)
class Lane:
    """A model: `run` takes (N, ...) with N up to `max_batch` and gives (N, ...) in the same order.

    `more`: True while rows are on their way whose making keeps the cores busy.
    """

    run: Run
    max_batch: int = 32
    more: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class _Part:
    """Rows of a request that run in one batch."""

    request: _Request
    start: int
    rows: Rows


@dataclass(eq=False)
class _Request:
    rows: Rows
    deadline: float
    arrived: float
    future: Future[Rows] = field(default_factory=Future)
    taken: int = 0
    results: dict[int, Rows] = field(default_factory=dict)
    """By the place of their first row: threads may finish the parts of a request in any order."""

    @property
    def left(self) -> int:
        return len(self.rows) - self.taken


class Engine:
    """Runs lanes on `threads` threads behind one queue of at most `capacity` rows.

    `observe` is told of every batch. Use it as a context manager, or call `close`.
    """

    def __init__(
        self,
        lanes: Mapping[str, Lane],
        capacity: int,
        threads: int = 1,
        observe: Observe | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        if capacity < 1 or threads < 1 or any(lane.max_batch < 1 for lane in lanes.values()):
            raise ValueError("capacity, threads and batch sizes must be at least 1")
        self.capacity = capacity
        self._lanes = dict(lanes)
        self._queues: dict[str, deque[_Request]] = {name: deque() for name in lanes}
        self._observe, self._clock = observe, clock
        self._waiting = 0
        self._patient = False
        self._pace = 0.0
        self._answered = clock()
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"engine-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def waiting(self) -> int:
        """Rows in the queue, those that are running not counted."""
        return self._waiting

    @property
    def silent(self) -> float:
        """Seconds since a batch was last answered."""
        return self._clock() - self._answered

    def submit(self, lane: str, rows: Rows, deadline: float) -> Future[Rows]:
        """Queue rows (N, ...) of one request; the future gives their results in order.

        `deadline`: on the engine's clock. Cancelling the future takes the request out of the queue. Raises
        `OverloadedError` where the queue has no room for all of them, `ClosedError` after `close`; the
        future raises `DeadlineError`, or whatever the model raised on a batch with one of these rows.
        """
        request = _Request(rows, deadline, self._clock())
        if len(rows) == 0:
            raise ValueError("a request has at least one row")
        with self._changed:
            if self._closed:
                raise ClosedError("the service is shutting down")
            if self._waiting + len(rows) > self.capacity:
                self._drop_dead()
            if self._waiting + len(rows) > self.capacity:
                raise OverloadedError(self._until_free())
            self._queues[lane].append(request)
            self._waiting += len(rows)
            if not (self._patient and self._worth_waiting(lane)):
                self._changed.notify()
        return request.future

    def close(self, timeout: float | None = None) -> None:
        """Take no more rows, run those that wait, and end the threads (within `timeout` seconds)."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout)

    def _until_free(self) -> float:
        return max(1.0, self._waiting * self._pace)

    def _drop_dead(self) -> None:
        """Take out requests that nobody waits for any more. Called with the lock held."""
        now = self._clock()
        for name, queue in self._queues.items():
            kept: deque[_Request] = deque()
            for request in queue:
                if self._is_wanted(request, now):
                    kept.append(request)
                else:
                    self._waiting -= request.left
            self._queues[name] = kept

    def _is_wanted(self, request: _Request, now: float) -> bool:
        """False for one that was cancelled, has failed or is too late, which it is then told."""
        if request.future.done():
            return False
        if now > request.deadline:
            _fail(request, DeadlineError("the deadline passed while the request was waiting"))
            return False
        return True

    def _next_batch(self) -> tuple[str, list[_Part]] | None:
        """Wait for rows; None when closed and empty."""
        with self._changed:
            while True:
                self._drop_dead()
                heads = {name: queue[0].arrived for name, queue in self._queues.items() if queue}
                ripe = [name for name in heads if not self._worth_waiting(name)]
                if ripe:
                    name = min(ripe, key=lambda lane: heads[lane])
                    batch = self._take(self._queues[name], self._lanes[name].max_batch)
                    if any(self._queues.values()):  # for another thread, which then also keeps their time
                        self._changed.notify()
                    return name, batch
                if self._closed:
                    return None
                self._patient = bool(heads)
                self._changed.wait(_PATIENCE if heads else None)
                self._patient = False

    def _worth_waiting(self, lane: str) -> bool:
        """True while a lane's batch would be small and more rows are on their way."""
        queue = self._queues[lane]
        return (
            not self._closed
            and self._lanes[lane].more()
            and self._clock() - queue[0].arrived < _PATIENCE
            and sum(request.left for request in queue) < min(_ENOUGH, self._lanes[lane].max_batch)
        )

    def _take(self, queue: deque[_Request], most: int) -> list[_Part]:
        batch: list[_Part] = []
        room = most
        while queue and room:
            request = queue[0]
            count = min(room, request.left)
            batch.append(_Part(request, request.taken, request.rows[request.taken : request.taken + count]))
            request.taken += count
            room -= count
            self._waiting -= count
            if not request.left:
                queue.popleft()
        return batch

    def _work(self) -> None:
        give_way()
        while (found := self._next_batch()) is not None:
            name, batch = found
            started = self._clock()
            try:
                self._run(name, batch, started)
            except BaseException as error:  # whatever a model raises belongs to those who asked
                for part in batch:
                    _fail(part.request, error)

    def _run(self, name: str, batch: list[_Part], started: float) -> None:
        rows = batch[0].rows if len(batch) == 1 else np.concatenate([part.rows for part in batch])
        results = self._lanes[name].run(rows)
        if len(results) != len(rows):
            raise ValueError(f"the model answered {len(rows)} rows with {len(results)}")
        ended = self._answered = self._clock()
        pace = (ended - started) / len(rows)
        if self._observe is not None:  # before anybody is answered: whoever looks then finds the own batch
            oldest = min(part.request.arrived for part in batch)
            with suppress(Exception):  # what cannot be counted can be answered
                self._observe(name, len(rows), started - oldest, ended - started, self._waiting)
        with self._changed:
            self._pace = pace if self._pace == 0 else 0.9 * self._pace + 0.1 * pace
            _settle(batch, results)


def _settle(batch: Sequence[_Part], results: Rows) -> None:
    at = 0
    for part in batch:
        request, count = part.request, len(part.rows)
        request.results[part.start] = results[at : at + count]
        at += count
        if sum(map(len, request.results.values())) == len(request.rows):
            ordered = [request.results[start] for start in sorted(request.results)]
            with suppress(InvalidStateError):  # nobody waits for it any more
                request.future.set_result(ordered[0] if len(ordered) == 1 else np.concatenate(ordered))


def _fail(request: _Request, error: BaseException) -> None:
    """A panic of a library is no `Exception`: it would end the thread or the loop that meets it."""
    told = error if isinstance(error, Exception) else RuntimeError(f"{type(error).__name__}: {error}")
    with suppress(InvalidStateError):
        request.future.set_exception(told)
