"""Several workers are one service: what one was told the others know."""

from __future__ import annotations

import base64
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.serving import bundles
from tests.serving.processes import Served, serving, until


@pytest.fixture(scope="module")
def home(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "bundle"
    bundles.put(exported, folder)
    return folder


@pytest.fixture(scope="module")
def served(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(home, tmp_path_factory.mktemp("log") / "log", "--workers", "2") as served:
        until(lambda: len(served.workers()) == 2, 30)
        for worker in served.workers():
            with only(served, worker):
                until(lambda: served.ask("GET", "/readyz").status_code == 200, 30)
        yield served


@contextmanager
def only(served: Served, worker: int) -> Iterator[None]:
    """Let one worker answer; the others are stopped meanwhile."""
    others = [each for each in served.workers() if each != worker]
    for other in others:
        os.kill(other, signal.SIGSTOP)
    try:
        yield
    finally:
        for other in others:
            os.kill(other, signal.SIGCONT)


def items(name: str, files: list[bytes], count: int) -> list[dict[str, str]]:
    return [
        {"id": f"{name}-{k}", "image": base64.b64encode(files[k % len(files)]).decode()} for k in range(count)
    ]


def test_what_one_worker_adds_or_deletes_the_other_knows_at_once(served: Served, files: list[bytes]) -> None:
    both = served.workers()
    for turn, (writer, reader) in enumerate([both, both[::-1]] * 3):
        name = f"turn{turn}"
        with only(served, writer):
            assert served.ask("POST", "/gallery", json={"items": items(name, files, 1)}).json()["added"] == 1
        with only(served, reader):
            assert served.ask("GET", f"/gallery/{name}-0").json()["id"] == f"{name}-0"
            sent = {"image": items(name, files, 1)[0]["image"], "k": 1000}
            found = served.ask("POST", "/search", json=sent).json()["results"]
            assert f"{name}-0" in {hit["id"] for hit in found}
            assert served.ask("DELETE", f"/gallery/{name}-0").json() == {"deleted": 1}
        with only(served, writer):
            found = served.ask("POST", "/search", json=sent).json()["results"]
            assert f"{name}-0" not in {hit["id"] for hit in found}


def test_bulk_adds_through_both_lose_nothing(served: Served, files: list[bytes]) -> None:
    def add(call: int) -> int:
        sent = [*items(f"own{call}", files, 5), *items("shared", files, 3)]
        return int(served.ask("POST", "/gallery", json={"items": sent}).json()["added"])

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(add, range(24))) == [8] * 24
    for worker in served.workers():
        with only(served, worker):
            page = served.ask("GET", "/gallery", params={"limit": 1000}).json()
            ids = [item["id"] for item in page["items"]]
            assert sorted(ids) == sorted(
                {f"own{call}-{k}" for call in range(24) for k in range(5)} | {f"shared-{k}" for k in range(3)}
            )
            assert page["count"] == len(ids)


def test_all_workers_follow_a_reload(served: Served, home: Path, tmp_path: Path) -> None:
    again = bundles.relabelled(home, tmp_path / "again", "another")
    first, second = served.workers()
    with only(served, first):
        sha256 = bundles.put(again, home)
        assert served.ask("POST", "/models/reload", json={}).json()["models"][0]["sha256"] == sha256
    with only(served, second):
        until(lambda: served.ask("GET", "/models").json()["models"][0]["sha256"] == sha256, 10)


def test_a_worker_that_is_killed_is_started_again(served: Served) -> None:
    dead, other = served.workers()
    os.kill(dead, signal.SIGKILL)
    with ThreadPoolExecutor(1) as threads:
        answered = threads.submit(lambda: served.ask("POST", "/search", json={"text": "a star"}).status_code)
        assert answered.result(30) == 200
    until(lambda: len(served.workers()) == 2 and dead not in served.workers(), 30)
    assert other in served.workers()
