"""Results of threads reach the loop, each its own, whatever they are."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

import pytest

from serving.mailbox import Mailbox


def test_everyone_gets_their_own_result() -> None:
    mailbox = Mailbox()

    async def ask() -> list[int]:
        with ThreadPoolExecutor(4) as pool:
            return await asyncio.gather(*(mailbox.result(pool.submit(pow, k, 2)) for k in range(500)))

    for _ in range(2):  # a second loop, as after a restart within one process
        assert asyncio.run(ask()) == [k * k for k in range(500)]


def test_errors_and_cancellations_are_theirs_too() -> None:
    async def ask() -> None:
        mailbox, failed, cancelled = Mailbox(), Future[int](), Future[int]()
        failed.set_exception(ValueError("no"))
        cancelled.cancel()
        with pytest.raises(ValueError, match="no"):
            await mailbox.result(failed)
        with pytest.raises((asyncio.CancelledError, CancelledError)):
            await mailbox.result(cancelled)

    asyncio.run(ask())


def test_who_does_not_wait_any_more_takes_the_work_back() -> None:
    async def ask() -> None:
        mailbox, slow = Mailbox(), Future[int]()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await mailbox.result(slow)
        assert slow.cancelled()

    asyncio.run(ask())


def test_a_result_after_the_loop_has_ended_stops_nobody() -> None:
    mailbox, late = Mailbox(), Future[int]()
    late.set_running_or_notify_cancel()  # it has begun: it can no longer be cancelled

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await mailbox.result(late)

    asyncio.run(leave())
    late.set_result(1)

    async def ask() -> int:
        with ThreadPoolExecutor(1) as pool:
            return await mailbox.result(pool.submit(int, "2"))

    assert asyncio.run(ask()) == 2
