"""The threads that decode pictures, and the bounded queue of those that wait for one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

from serving.batching import OverloadedError
from serving.priority import give_way

Result = TypeVar("Result")


class Decoders:
    """`threads` threads, for which at most `capacity` pictures wait.

    A backlog means that pictures come faster than they can be decoded.
    """

    def __init__(self, threads: int, capacity: int) -> None:
        self._pool = ThreadPoolExecutor(threads, "decode", initializer=give_way)
        self._threads, self._capacity = threads, capacity
        self._counting = Lock()
        self._backlog = 0
        self._pace = 0.0

    @property
    def backlog(self) -> int:
        """Pictures that no thread has begun with."""
        return self._backlog

    def submit(self, work: Callable[[bytes], Result], files: Sequence[bytes]) -> list[Future[Result]]:
        """Queue files for `work`; cancelling a future takes its file out.

        Raises `OverloadedError` where there is no room for all of them.
        """
        with self._counting:
            self.check_room(len(files))
            self._backlog += len(files)
        futures = [self._pool.submit(self._begin, work, file) for file in files]
        for future in futures:
            future.add_done_callback(self._forget)
        return futures

    def check_room(self, files: int = 1) -> None:
        """Raise `OverloadedError` where there is no room for so many."""
        if self._backlog + files > self._capacity:
            raise OverloadedError(max(1.0, self._backlog * self._pace / self._threads))

    def _begin(self, work: Callable[[bytes], Result], file: bytes) -> Result:
        self._leave()
        started = time.monotonic()
        try:
            return work(file)
        finally:
            taken = time.monotonic() - started
            self._pace = taken if self._pace == 0 else 0.9 * self._pace + 0.1 * taken

    def _forget(self, future: Future[Result]) -> None:
        if future.cancelled():
            self._leave()

    def _leave(self) -> None:
        with self._counting:
            self._backlog -= 1

    def shutdown(self) -> None:
        """Decode what waits, then end the threads."""
        self._pool.shutdown()
