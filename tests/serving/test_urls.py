"""Pictures by address: only from where they may come, only what fits, and never from within the network."""

from __future__ import annotations

import base64
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compressor.runtime import Bundle
from serving.app import App
from serving.models import Models
from serving.settings import Settings
from serving.urls import AT_ONCE, Fetcher
from tests.serving.conftest import Ask
from tests.serving.hosts import HOST, PUBLIC, Reply, World, answer, make_certificate, to


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def world(certificate: Path) -> Iterator[World]:
    world = World(certificate)
    yield world
    world.close()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    allowed = (HOST, "*.example.net", "other.example.org:8443", "[2606:4700::1111]")
    return settings.model_copy(update={"urls": allowed, "url_seconds": 5.0})


@pytest.fixture
def app(models: Models, settings: Settings, world: World) -> Iterator[App]:
    fetcher = Fetcher(settings, world.resolve, world.connect, world.client)
    app = App(models, settings, fetcher=fetcher)
    yield app
    app.close()


def sent(ask: Ask, *urls: str) -> list[dict[str, Any]]:
    """What `/encode/image` says of every address, with a good picture beside so that it answers 200."""
    pixel = base64.b64encode(PIXEL).decode()
    response = ask("POST", "/encode/image", json={"images": [*({"url": url} for url in urls), pixel]})
    assert response.status_code == 200, response.json()
    results = response.json()["results"]
    assert "embedding" in results.pop()
    return list(results)


def refused(ask: Ask, url: str) -> str:
    (result,) = sent(ask, url)
    assert result["error"]["code"] == "bad_url", result
    assert result["error"]["param"] == "images[0]"
    return str(result["error"]["message"])


PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)


def test_addresses_are_refused_unless_hosts_are_allowed(models: Models, ask: Ask, app: App) -> None:
    app.fetcher = None
    assert Settings().urls == ()
    assert "COMPRESSOR_URLS" in refused(ask, f"https://{HOST}/a.png")


def test_a_picture_is_fetched_wherever_one_can_stand(
    ask: Ask, world: World, bundle: Bundle, files: list[bytes], app: App, tmp_path: Path
) -> None:
    for k, file in enumerate(files):
        world.replies[f"/{k}.png?size=1"] = answer(file)
    urls = [{"url": f"https://{HOST}/{k}.png?size=1"} for k in range(3)]
    expected = bundle.encode_images(files[:3])
    listed = ask("POST", "/encode/image", json={"images": urls}).json()["results"]
    np.testing.assert_allclose([result["embedding"] for result in listed], expected, atol=1e-5)
    openai = ask("POST", "/v1/embeddings", json={"input": ["a star", urls[1]]}).json()["data"]
    np.testing.assert_allclose(openai[1]["embedding"], expected[1], atol=1e-5)
    ranked = ask("POST", "/rank", json={"image": urls[0], "texts": ["a", "b"]})
    assert ranked.status_code == 200
    assert ask("POST", "/rank", json={"text": "a", "images": urls}).status_code == 200
    assert ask("POST", "/classify", json={"image": urls[0], "labels": ["a"]}).status_code == 200
    request = world.requests[0].decode()
    assert f"\r\nHost: {HOST}\r\n" in request
    assert "\r\nAccept-Encoding: identity\r\n" in request


def test_a_gallery_takes_addresses_of_pictures_but_not_of_metadata(
    models: Models, world: World, settings: Settings, files: list[bytes], tmp_path: Path, app: App, ask: Ask
) -> None:
    world.replies["/a.png"] = answer(files[0])
    items = [{"id": "a", "image": {"url": f"https://{HOST}/a.png"}, "metadata": {"url": "https://x.test/"}}]
    fields: dict[str, Any] = {"items": items}
    assert app.fetcher is not None
    import asyncio

    asyncio.run(app.fetcher.fill(fields, time.monotonic() + 5))
    assert items[0]["image"].picture == files[0]  # type: ignore[attr-defined]
    assert items[0]["metadata"] == {"url": "https://x.test/"}
    assert world.resolved == [HOST]


def test_one_bad_address_stands_alone(ask: Ask, world: World, bundle: Bundle, files: list[bytes]) -> None:
    world.replies |= {"/0": answer(files[0]), "/1": answer(b"no picture"), "/2": answer(status="404 Gone")}
    results = sent(ask, *(f"https://{HOST}/{k}" for k in (0, 1, 2, 0)), "http://a.test/")
    codes = [result.get("error", {}).get("code") for result in results]
    assert codes == [None, "unknown_image_format", "bad_url", None, "bad_url"]
    np.testing.assert_allclose(results[3]["embedding"], bundle.encode_images(files[:1])[0], atol=1e-5)


@pytest.mark.parametrize(
    "url",
    [
        f"http://{HOST}/a",
        f"HTTP://{HOST}/a",
        "file:///etc/passwd",
        f"//{HOST}/a",
        "",
        "https:///a",
        "https://",
        f"https://user@{HOST}/a",
        f"https://user:secret@{HOST}/a",
        f"https://{HOST}:8443/a",
        f"https://{HOST}:0/a",
        f"https://{HOST}:99999/a",
        f"https://{HOST}:x/a",
        f"https://{HOST}/a b",
        f"https://{HOST}/a\r\nX: y",
        f"https://{HOST}\\@evil.test/a",
        "https://evil.test/a",
        f"https://{HOST}.evil.test/a",
        "https://example.net/a",
        "https://evilexample.net/a",
        "https://.example.net/a",
        "https://a..example.net/a",
        "https://other.example.org/a",
        "https://bilder.exämple.net/a",
        f"https://{HOST}/" + "a" * 2048,
        "https://[::1/a",
        "https://[2606:4700::1111%25eth0]/a",
    ],
)
def test_addresses_of_another_form_or_host_are_not_even_looked_up(ask: Ask, world: World, url: str) -> None:
    assert refused(ask, url)
    assert world.resolved == []


@pytest.mark.parametrize("url", [None, 7, ["https://a"], {"url": "https://a"}])
def test_an_address_is_a_string(ask: Ask, url: Any) -> None:
    (result,) = sent(ask, url)
    assert result["error"]["code"] == "invalid_value"


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["169.254.169.254"], ["::ffff:10.0.0.1"], [PUBLIC, "10.0.0.1"], ["fd00::1", PUBLIC], []],
)
def test_a_host_with_an_address_that_is_not_public_is_refused_without_saying_which(
    ask: Ask, world: World, addresses: list[str]
) -> None:
    world.names[HOST] = [addresses]
    unknown = refused(ask, "https://nowhere.example.net/a")
    assert refused(ask, f"https://{HOST}/a") == unknown == "has a host without a public address"
    assert world.dialled == []


def test_a_name_is_resolved_once_and_dialled_where_it_was_checked(
    ask: Ask, world: World, files: list[bytes]
) -> None:
    """A name that is public when it is checked and private when it is dialled gains nothing."""
    world.replies["/a"] = answer(files[0])
    world.names[HOST] = [[PUBLIC], ["127.0.0.1"]]
    (result,) = sent(ask, f"https://{HOST}/a")
    assert "embedding" in result
    assert (world.resolved, world.dialled) == ([HOST], [(PUBLIC, 443)])
    assert "public" in refused(ask, f"https://{HOST}/a"), "the next fetch looks the name up anew"
    assert world.dialled == [(PUBLIC, 443)]


def test_the_next_address_is_tried_where_one_does_not_answer(
    world: World, settings: Settings, files: list[bytes], models: Models
) -> None:
    def connect(ip: str, port: int, seconds: float) -> socket.socket:
        if ip != PUBLIC:
            raise ConnectionRefusedError
        return world.connect(ip, port, seconds)

    world.names[HOST] = [["2606:4700::1111", "1.1.1.1", PUBLIC]]
    world.replies["/a"] = answer(files[0])
    fields: dict[str, Any] = {"image": {"url": f"https://{HOST}/a"}}
    import asyncio

    fetcher = Fetcher(settings, world.resolve, connect, world.client)
    asyncio.run(fetcher.fill(fields, time.monotonic() + 5))
    assert fields["image"].picture == files[0]


def test_tls_is_verified_for_the_name(ask: Ask, world: World, app: App, settings: Settings) -> None:
    world.replies["/a"] = answer(PIXEL)
    world.names["a.example.net"] = world.names["a.b.example.net"] = [[PUBLIC]]
    assert "embedding" in sent(ask, "https://a.example.net/a")[0]
    assert refused(ask, "https://a.b.example.net/a") == "could not be fetched", "a certificate of other names"
    app.fetcher = Fetcher(settings, world.resolve, world.connect)
    assert refused(ask, "https://a.example.net/a") == "could not be fetched", "an authority that nobody knows"
    assert len(world.requests) == 1


def test_redirects_are_followed_and_each_is_checked(ask: Ask, world: World, files: list[bytes]) -> None:
    world.names["cdn.example.net"] = [[PUBLIC]]
    world.names["inside.example.net"] = [["10.0.0.7"]]
    world.replies |= {
        "/a": to("/b"),
        "/b": to("https://cdn.example.net/c"),
        "/c": to(f"https://{HOST}/d"),
        "/d": answer(files[0]),
        "/inside": to("https://inside.example.net/"),
        "/metadata": to("https://169.254.169.254/latest"),
        "/plain": to(f"http://{HOST}/d"),
        "/elsewhere": to("https://evil.test/"),
        "/bad": to("https://[::1"),
        "/nowhere": answer(status="302 Found"),
        "/round": to("/round"),
        "/long": to("/a"),
    }
    assert "embedding" in sent(ask, f"https://{HOST}/a")[0]
    assert world.resolved == [HOST, HOST, "cdn.example.net", HOST]
    dialled = len(world.dialled)
    assert "public" in refused(ask, f"https://{HOST}/inside")
    assert "does not fetch from" in refused(ask, f"https://{HOST}/metadata")
    assert "https" in refused(ask, f"https://{HOST}/plain")
    assert "does not fetch from" in refused(ask, f"https://{HOST}/elsewhere")
    assert refused(ask, f"https://{HOST}/bad")
    assert refused(ask, f"https://{HOST}/nowhere")
    assert len(world.dialled) == dialled + 6, "none of them was dialled"
    assert "more than 3" in refused(ask, f"https://{HOST}/round")
    assert "more than 3" in refused(ask, f"https://{HOST}/long")


def endless(connection: Any, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + b"a" * 0x10000 + b"\r\n")


def test_no_more_bytes_come_than_a_body_may_have(ask: Ask, world: World, settings: Settings) -> None:
    half = b"a" * (settings.max_body // 2)
    world.replies |= {
        "/declared": answer(Content_Length=str(settings.max_body + 1)),
        "/endless": endless,
        "/half": answer(half),
    }
    for path in ("/declared", "/endless"):
        assert "more than the 500,000 bytes" in refused(ask, f"https://{HOST}{path}")
    codes = [each["error"]["code"] for each in sent(ask, *[f"https://{HOST}/half"] * 3)]
    assert sorted(codes) == ["bad_url", "unknown_image_format", "unknown_image_format"], "all of a request"


def drip(connection: Any, _: bytes) -> None:
    for sign in b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n" + b"X: y\r\n" * 1000:
        connection.sendall(bytes([sign]))
        time.sleep(0.02)


def silence(connection: Any, _: bytes) -> None:
    time.sleep(3)


def continued(connection: Any, _: bytes) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


@pytest.mark.parametrize("reply", [drip, silence, continued])
def test_a_server_that_is_too_slow_is_given_up(
    ask: Ask, world: World, app: App, settings: Settings, reply: Reply
) -> None:
    hurried = settings.model_copy(update={"url_seconds": 0.3})
    app.fetcher = Fetcher(hurried, world.resolve, world.connect, world.client)
    world.replies["/slow"] = reply
    assert refused(ask, f"https://{HOST}/slow") == "took too long to fetch"


def test_a_name_that_takes_long_to_resolve_keeps_nobody_waiting(
    ask: Ask, world: World, app: App, settings: Settings
) -> None:
    released = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        assert released.wait(20)
        return [PUBLIC]

    hurried = settings.model_copy(update={"url_seconds": 0.2})
    app.fetcher = Fetcher(hurried, resolve, world.connect, world.client)
    try:
        assert refused(ask, f"https://{HOST}/a") == "took too long to fetch"
    finally:
        released.set()
    assert world.dialled == []


@pytest.mark.parametrize(
    "reply",
    [
        answer(PIXEL, Content_Encoding="gzip"),
        answer(PIXEL, Content_Encoding="br"),
        answer(PIXEL[:-9], Content_Length=str(len(PIXEL))),
        answer(PIXEL, status="206 Partial Content"),
        answer(PIXEL, status="103 Early Hints"),
        answer(b"zz\r\nab\r\n", Transfer_Encoding="chunked"),
        lambda connection, _: connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n"),
        lambda connection, _: connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n"),
        lambda connection, _: None,
    ],
)
def test_answers_that_are_not_a_whole_plain_file_are_refused(ask: Ask, world: World, reply: Reply) -> None:
    world.replies["/a"] = reply
    assert refused(ask, f"https://{HOST}/a")


def test_fetches_run_together_within_a_bound(ask: Ask, world: World, files: list[bytes]) -> None:
    """As many as may run at once must all have asked before any is answered."""
    together, running, most = threading.Barrier(AT_ONCE), [0], [0]
    lock = threading.Lock()

    def reply(connection: Any, request: bytes) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        if int(request.split(b" ")[1][1:]) < AT_ONCE:
            together.wait(20)
        with lock:
            running[0] -= 1
        answer(files[0])(connection, request)

    count = AT_ONCE + 3
    world.replies = {f"/{k}": reply for k in range(count)}
    assert all("embedding" in result for result in sent(ask, *(f"https://{HOST}/{k}" for k in range(count))))
    assert most[0] == AT_ONCE
