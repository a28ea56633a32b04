from __future__ import annotations

import asyncio

import pytest

from compressor.client import http
from compressor.client.bodies import phrases, text_body
from compressor.client.errors import ConnectionFailedError
from compressor.client.lanes import Lanes
from tests.client.service import Service, nobody, row, running


def expected(number: int) -> bytes:
    return bytes(row(phrases()[number % 64].encode()).astype("<f4").tobytes())


def test_no_more_requests_are_under_way_than_there_are_connections() -> None:
    under_way, most = 0, 0

    async def watched() -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.02)
        under_way -= 1

    async def send(url: str) -> list[bytes]:
        async with Lanes(http.base_url(url), text_body(), {}, most=3) as lanes:
            replies = await asyncio.gather(*(lanes.exchange(number) for number in range(70)))
        return [reply.content for reply in replies]

    with running(Service(delay=watched).app()) as url:
        contents = asyncio.run(send(url))
    assert most == 3
    assert contents == [expected(number) for number in range(70)]


def test_a_request_that_was_given_up_leaves_nothing_to_the_next() -> None:
    service = Service()

    async def slow_once() -> None:
        if service.count == 1:
            await asyncio.sleep(0.5)

    async def send(url: str) -> bytes:
        async with Lanes(http.base_url(url), text_body(), {}, most=1) as lanes:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await lanes.exchange(0)
            return (await lanes.exchange(1)).content

    service.delay = slow_once
    with running(service.app()) as url:
        assert asyncio.run(send(url)) == expected(1)


def test_a_connection_that_fails_makes_room_for_others() -> None:
    async def send() -> list[str | None]:
        async with Lanes(http.base_url(nobody()), text_body(), {}, most=1) as lanes:
            with pytest.raises(ConnectionFailedError):
                await lanes.exchange(0)
            return [await lanes.send(number) for number in range(3)]

    assert asyncio.run(send()) == ["refused"] * 3
