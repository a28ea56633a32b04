"""A gallery is embedded again for another bundle: behind a request, while others are answered."""

from __future__ import annotations

import asyncio
import base64
import gc
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from compressor.gallery import Gallery
from compressor.gallery import rebuild as module
from compressor.gallery.pointer import Notes
from compressor.gallery.store import Store
from compressor.runtime import Bundle
from serving.app import App
from serving.models import Models
from serving.rebuilding import Job
from serving.settings import Settings
from tests.serving import bundles
from tests.serving.processes import KEY, serving, under_load, until

Answer = tuple[int, dict[str, Any]]


class World:
    """A service of `exported` whose folder can get `other`; the gallery lies where the settings say."""

    def __init__(self, models: Models, settings: Settings, other: Path) -> None:
        self.models, self.settings, self.other = models, settings, other
        self.place = str(settings.gallery)
        self.app = App(models, settings)

    def ask(self, method: str, path: str, **given: Any) -> Answer:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=KEY) as client:
                return await client.request(method, path, **given)

        answer = asyncio.run(send())
        return answer.status_code, answer.json()

    def fill(self, files: list[bytes]) -> None:
        items = [{"id": f"p{k}", "image": base64.b64encode(file).decode()} for k, file in enumerate(files)]
        assert self.ask("POST", "/gallery", json={"items": items})[1]["added"] == len(files)

    def swap(self) -> None:
        bundles.put(self.other, self.models.get(None).folder)
        self.models.reload("toy").result()

    def job(self) -> Any:
        return self.ask("GET", "/gallery")[1]["rebuild"]

    def ended(self) -> Any:
        until(lambda: self.job()["status"] != "running", 20)
        return self.job()


@pytest.fixture(scope="session")
def other(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.other_weights(exported, tmp_path_factory.mktemp("other") / "bundle")


@pytest.fixture
def world(exported: Path, other: Path, settings: Settings, tmp_path: Path) -> Iterator[World]:
    bundles.put(exported, tmp_path / "run" / "bundle")
    changed = {"gallery": str(tmp_path / "gallery"), "keys": ("a-key-for-the-tests",)}
    settings = settings.model_copy(update=changed)
    models = Models({"toy": tmp_path / "run" / "bundle"}, settings)
    world = World(models, settings, other)
    yield world
    world.app.galleries.close()
    models.close()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Until it is set no rebuild embeds a picture."""
    event, embed = threading.Event(), module.embed

    def wait(*given: Any) -> Any:
        assert event.wait(20)
        return embed(*given)

    monkeypatch.setattr(module, "embed", wait)
    yield event
    event.set()


def test_a_gallery_of_another_bundle_is_refused_until_it_is_rebuilt(world: World, files: list[bytes]) -> None:
    world.fill(files)
    world.swap()
    for method, path, sent in (
        ("POST", "/search", {"json": {"text": "a star"}}),
        ("POST", "/gallery/delete", {"json": {"ids": ["p1"]}}),
        ("GET", "/gallery/p1", {}),
    ):
        status, answer = world.ask(method, path, **sent)
        assert (status, answer["error"]["code"]) == (409, "other_bundle")
    status, shown = world.ask("GET", "/gallery")
    assert (status, shown["count"], shown["rebuild"]) == (200, len(files), None)
    assert "not of toy" in shown["other_bundle"]

    status, job = world.ask("POST", "/gallery/rebuild", json={})
    assert (status, job) == (202, {"status": "running", "done": 0, "of": len(files)})
    assert world.ended() == {"status": "done", "done": len(files), "of": len(files)}
    assert world.ask("GET", "/gallery")[1]["other_bundle"] is None
    query, images = Bundle.open(world.other), Bundle.open(world.other).encode_images(files)
    cosines = images @ query.encode_texts(["a star"])[0]
    hits = world.ask("POST", "/search", json={"text": "a star"})[1]["results"]
    assert [hit["id"] for hit in hits] == [f"p{k}" for k in np.argsort(-cosines, kind="stable")]
    assert [hit["score"] for hit in hits] == pytest.approx(sorted(cosines, reverse=True), abs=1e-5)
    assert world.ask("POST", "/gallery/rebuild", json={})[0] == 202, "nothing to do is no error"
    assert world.ended()["status"] == "done"


def test_a_second_request_meets_the_rebuild_that_is_under_way(
    world: World, files: list[bytes], held: threading.Event
) -> None:
    world.fill(files)
    world.swap()
    first = world.ask("POST", "/gallery/rebuild", json={})
    assert world.ask("POST", "/gallery/rebuild", json={}) == first == (202, world.job())
    held.set()
    assert world.ended()["status"] == "done"


def test_a_rebuild_of_another_worker_is_met_too(world: World, files: list[bytes]) -> None:
    world.fill(files)
    world.swap()
    notes = Notes(Store(world.place))
    notes.write("rebuild", asdict(Job("running", 2, len(files), by="elsewhere 7")))
    job = {"status": "running", "done": 2, "of": len(files)}
    assert world.ask("POST", "/gallery/rebuild", json={}) == (202, job)
    assert world.job() == job
    assert world.ask("POST", "/search", json={"text": "a"})[0] == 409, "it was not started a second time"


@pytest.mark.parametrize("how", ["shut down", "replaced"])
def test_a_rebuild_that_is_not_wanted_any_more_changes_nothing_and_can_be_gone_on_with(
    world: World, exported: Path, files: list[bytes], held: threading.Event, how: str
) -> None:
    world.fill(files)
    world.swap()
    world.ask("POST", "/gallery/rebuild", json={})
    before = Gallery.open(world.place).pointer
    if how == "replaced":
        bundles.put(exported, world.models.get(None).folder)
        world.models.reload("toy").result()
        held.set()
        job = world.ended()
        assert world.ask("POST", "/search", json={"text": "a"})[0] == 200, "the old bundle is back"
    else:
        threading.Timer(0.2, held.set).start()
        world.app.galleries.close()
        world.app = App(world.models, world.settings)
        job = world.job()
    assert job["status"] == "failed"
    assert how in job["error"]["message"]
    assert Gallery.open(world.place).pointer == before
    if how == "replaced":
        world.swap()
    assert world.ask("POST", "/gallery/rebuild", json={})[0] == 202
    assert world.ended()["status"] == "done"
    assert len(world.ask("POST", "/search", json={"text": "a"})[1]["results"]) == len(files)


def test_a_rebuild_whose_process_was_killed_is_not_waited_for(world: World, files: list[bytes]) -> None:
    world.fill(files)
    world.swap()
    noted = Job("running", 1, len(files), by=Job("running", 0, 0).by.rpartition(" ")[0] + " 4194305")
    Notes(Store(world.place)).write("rebuild", asdict(noted))
    assert world.job()["status"] == "failed"
    assert "has ended; ask again" in world.job()["error"]["message"]
    assert world.ask("POST", "/gallery/rebuild", json={})[1]["status"] == "running"
    assert world.ended()["status"] == "done"
    silent = Job("running", 1, 2, at=time.time() - 61, by="elsewhere 7")
    assert silent.abandoned
    assert not Job("running", 1, 2, by="elsewhere 7").abandoned


def test_a_gallery_without_its_pictures_is_a_conflict_that_says_so(world: World, files: list[bytes]) -> None:
    world.settings = world.settings.model_copy(update={"keep_originals": False})
    world.app.galleries.close()
    world.app = App(world.models, world.settings)
    world.fill(files)
    world.swap()
    status, answer = world.ask("POST", "/gallery/rebuild", json={})
    assert (status, answer["error"]["code"]) == (409, "no_originals")
    assert "'p" in answer["error"]["message"]
    assert world.job() is None
    assert world.ask("POST", "/gallery/rebuild", json={"leave_out": True})[0] == 202
    assert world.ended() == {"status": "done", "done": 0, "of": 0, "left_out": len(files)}


def test_a_rebuild_needs_a_key_and_sense(world: World) -> None:
    status, answer = world.ask("POST", "/gallery/rebuild", json={}, headers={"Authorization": ""})
    assert (status, answer["error"]["code"]) == (401, "no_key")
    status, answer = world.ask("POST", "/gallery/rebuild", json={"leave_out": "yes"})
    assert (status, answer["error"]["param"]) == (422, "leave_out")
    status, answer = world.ask("POST", "/gallery/rebuild", json={})
    assert (status, answer["error"]["code"]) == (404, "no_gallery")


def test_an_item_may_be_called_rebuild(world: World, files: list[bytes]) -> None:
    items = [{"id": "rebuild", "image": base64.b64encode(files[0]).decode()}]
    world.ask("POST", "/gallery", json={"items": items})
    assert world.ask("GET", "/gallery/rebuild")[1]["id"] == "rebuild"
    assert world.ask("DELETE", "/gallery/rebuild")[1] == {"deleted": 1}


def test_who_serves_the_old_bundle_reads_on_after_a_rebuild_for_the_next(
    world: World, files: list[bytes]
) -> None:
    """Rebuilt from outside first, then the bundle replaced: searches are answered all the while."""
    world.fill(files)
    before = world.ask("POST", "/search", json={"text": "a star"})[1]["results"]
    module.rebuild(world.place, Bundle.open(world.other, threads=1))
    for held in world.app.galleries._held.values():
        held.known = 0.0
    assert world.ask("POST", "/search", json={"text": "a star"})[1]["results"] == before
    status, answer = world.ask("POST", "/gallery/delete", json={"ids": ["p1"]})
    assert (status, answer["error"]["code"]) == (409, "other_bundle")
    world.swap()
    assert world.ask("POST", "/search", json={"text": "a star"})[0] == 200
    assert world.ask("POST", "/gallery/delete", json={"ids": ["p1"]})[1] == {"deleted": 1}


def test_galleries_go_with_the_bundles_they_were_open_for(world: World, files: list[bytes]) -> None:
    world.fill(files)
    bundles.put(
        bundles.relabelled(world.models.get(None).folder, world.other.parent / "again", "again"),
        world.models.get(None).folder,
    )
    (first,) = [held.gallery for held in world.app.galleries._held.values()]
    for _ in range(3):
        world.models.reload("toy").result()
        assert world.ask("POST", "/search", json={"text": "a star"})[0] == 200
    gc.collect()
    assert [held.gallery for held in world.app.galleries._held.values()] == [first], (
        "and its vectors are kept"
    )


def test_requests_are_answered_while_a_gallery_is_rebuilt(
    exported: Path, other: Path, tmp_path: Path, files: list[bytes]
) -> None:
    """Rebuilt for the bundle that is served, which another process of the old bundle goes on searching."""
    old, new, place = tmp_path / "old" / "bundle", tmp_path / "new" / "bundle", str(tmp_path / "gallery")
    bundles.put(exported, old)
    bundles.put(other, new)
    coded = [base64.b64encode(file).decode() for file in files]
    with (
        serving(old, tmp_path / "log", gallery=place) as before,
        serving(new, tmp_path / "log", gallery=place) as after,
    ):
        for call in range(5):
            items = [{"id": f"{call}-{k}", "image": coded[k % len(coded)]} for k in range(20)]
            assert before.ask("POST", "/gallery", json={"items": items}).status_code == 200
        searched = [("/search", {"text": "a red star", "k": 3}), ("/encode/image", {"images": coded[:1]})]
        with under_load(before, searched, 2) as load, under_load(after, searched[1:], 2) as beside:
            assert after.ask("POST", "/gallery/rebuild", json={}).json()["of"] == 100
            until(lambda: after.ask("GET", "/gallery").json()["rebuild"]["status"] == "done", 30)
            assert len(after.ask("POST", "/search", json={"text": "a"}).json()["results"]) == 10
        assert load.all_well, load.failures[:5]
        assert beside.all_well, beside.failures[:5]
        assert after.ask("GET", "/gallery").json()["count"] == 100
