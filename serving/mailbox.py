"""Results of other threads on their way to the event loop, many in one call."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

Result = TypeVar("Result")


class Mailbox:
    """Awaits futures of threads as `asyncio.wrap_future` does, but that wakes the loop for every single one;
    here one call brings all results of a batch."""

    def __init__(self) -> None:
        self._arrived: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._called = False

    async def result(self, future: Future[Result]) -> Result:
        """What a thread's future gives or raises; cancelled with the caller."""
        loop = asyncio.get_running_loop()
        awaited: asyncio.Future[Result] = loop.create_future()

        def put(done: Future[Result]) -> None:
            self._arrived.append((awaited, done))
            if not self._called:
                self._called = True
                try:
                    loop.call_soon_threadsafe(self._deliver)
                except RuntimeError:  # the loop has ended, and with it whoever waited
                    self._called = False

        future.add_done_callback(put)
        try:
            return await awaited
        finally:
            future.cancel()

    def _deliver(self) -> None:
        self._called = False  # before looking: what arrives from here on calls again
        while self._arrived:
            awaited, done = self._arrived.popleft()
            if awaited.done():
                continue
            try:
                awaited.set_result(done.result())
            except CancelledError:
                awaited.cancel()
            except Exception as error:
                awaited.set_exception(error)
