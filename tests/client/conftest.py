from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from compressor.client import AsyncClient, Client, Retries
from tests.client.service import Bridge, Service

QUICK = Retries(attempts=4, first=0.001, longest=0.002, deadline=20.0)

Ask = Callable[..., Any]


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """`ask(service or address, method, *arguments, client options, **arguments)`, with both clients alike."""

    def of_sync(service: Service | str, options: dict[str, Any], call: Ask) -> Any:
        there: dict[str, Any] = {} if isinstance(service, str) else {"transport": Bridge(service.app())}
        url = service if isinstance(service, str) else "http://service"
        with Client(url, **{"retries": QUICK, **options}, **there) as client:
            return call(client)

    async def of_async(service: Service | str, options: dict[str, Any], call: Ask) -> Any:
        there: dict[str, Any] = {}
        if not isinstance(service, str):
            there["transport"] = httpx.ASGITransport(service.app())
        url = service if isinstance(service, str) else "http://service"
        async with AsyncClient(url, **{"retries": QUICK, **options}, **there) as client:
            return await call(client)

    def asked(
        service: Service | str,
        method: str,
        *arguments: Any,
        options: dict[str, Any] | None = None,
        **named: Any,
    ) -> Any:
        def call(client: Any) -> Any:
            return getattr(client, method)(*arguments, **named)

        if request.param == "sync":
            return of_sync(service, options or {}, call)
        return asyncio.run(of_async(service, options or {}, call))

    return asked
