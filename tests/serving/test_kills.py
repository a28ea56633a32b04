"""A service that is killed loses nothing; one that is told to end answers first."""

from __future__ import annotations

import base64
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from compressor.gallery import Gallery, NewItem, embed
from compressor.runtime import Bundle
from tests.serving import bundles
from tests.serving.kills import kill_often
from tests.serving.processes import Served, serving


def test_what_was_acknowledged_survives_kills(exported: Path, tmp_path: Path, files: list[bytes]) -> None:
    tally = kill_often(exported, tmp_path, files, times=2, longest=0.3)
    assert len(tally.acknowledged) >= 2
    assert "Traceback" not in (tmp_path / "log").read_text()


def bulk(served: Served, name: int, files: list[bytes]) -> httpx.Response:
    items = [
        {"id": f"{name}-{k}", "image": base64.b64encode(files[k % len(files)]).decode()} for k in range(200)
    ]
    return served.ask("POST", "/gallery", json={"items": items})


def test_requests_under_way_are_answered_before_the_end(
    exported: Path, tmp_path: Path, files: list[bytes]
) -> None:
    place = tmp_path / "gallery"
    room = {"gallery": place, "queue": 2_000, "deadline": 60}
    with serving(exported, tmp_path / "log", **room) as served, ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(bulk, served, name, files) for name in range(4)]
        time.sleep(0.3)
        assert not any(answer.done() for answer in waiting)
        served.process.terminate()
        for answer in waiting:
            assert (answer.result().status_code, answer.result().json()["added"]) == (200, 200)
        assert served.process.wait(30) == 0
        with pytest.raises(httpx.ConnectError):
            served.ask("GET", "/livez")
    assert Gallery.open(place).count() == 800
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_rebuild_that_is_killed_shows_nothing_and_is_gone_on_with(
    exported: Path, bundle: Bundle, tmp_path: Path, files: list[bytes]
) -> None:
    place = tmp_path / "gallery"
    other = bundles.other_weights(exported, tmp_path / "other" / "bundle")
    gallery = Gallery.open(place, bundle, create=True, keep_originals=True)
    items = [NewItem(f"{k}", files[k % len(files)]) for k in range(400)]
    gallery.add(items, embed(bundle, items))
    with serving(other, tmp_path / "log", gallery=place) as served:
        assert served.ask("POST", "/gallery/rebuild", json={}).json()["of"] == 400
        time.sleep(0.1)
        served.kill()
    assert not gallery.superseded, "the rebuild was faster than the test"
    assert len(gallery.search(bundle.encode_texts(["a star"]), 1000)[0]) == 400
    with serving(other, tmp_path / "log", gallery=place) as served:
        assert served.ask("GET", "/gallery").json()["rebuild"]["status"] == "failed"
        assert served.ask("POST", "/gallery/rebuild", json={}).status_code == 202
        while (job := served.ask("GET", "/gallery").json()["rebuild"])["status"] == "running":
            time.sleep(0.1)
        assert job == {"status": "done", "done": 400, "of": 400}
    assert "Traceback" not in (tmp_path / "log").read_text()
