"""What a rush took is given back once, when it is over."""

from __future__ import annotations

import asyncio

import pytest

from serving import memory
from serving.memory import Tidying


def test_memory_is_given_back_once_when_the_rush_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CALM", 0.05)
    given: list[int] = []

    async def rush() -> None:
        tidying = Tidying()
        tidying._trim = given.append
        for _ in range(5):
            tidying.refused()
            await asyncio.sleep(0.01)
            assert given == [], "not while requests are refused"
        await asyncio.sleep(0.5)

    asyncio.run(rush())
    assert given == [0]


def test_without_that_function_nothing_is_done() -> None:
    async def rush() -> None:
        tidying = Tidying()
        tidying._trim = None
        tidying.refused()

    asyncio.run(rush())
