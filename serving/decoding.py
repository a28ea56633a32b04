"""The threads that decode pictures, and how many pictures wait for one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

Result = TypeVar("Result")


class Decoders:
    """`threads` threads. A backlog means that pictures come faster than they can be decoded."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, "decode")
        self._counting = Lock()
        self._backlog = 0

    @property
    def backlog(self) -> int:
        """Pictures that no thread has begun with."""
        return self._backlog

    def submit(self, work: Callable[[bytes], Result], file: bytes) -> Future[Result]:
        """Queue a file for `work`; cancelling the future takes it out."""
        self._count(1)
        future = self._pool.submit(self._begin, work, file)
        future.add_done_callback(self._forget)
        return future

    def _begin(self, work: Callable[[bytes], Result], file: bytes) -> Result:
        self._count(-1)
        return work(file)

    def _forget(self, future: Future[Result]) -> None:
        if future.cancelled():
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._counting:
            self._backlog += more

    def shutdown(self) -> None:
        """Decode what waits, then end the threads."""
        self._pool.shutdown()
