"""One bundle takes another's place while the service works."""

from __future__ import annotations

import asyncio
import base64
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from compressor.errors import BundleError
from compressor.runtime import Bundle
from compressor.runtime.schema import MANIFEST
from serving.app import App
from serving.models import Models
from serving.settings import Settings
from serving.watching import Watcher, seconds_between
from tests.serving import bundles
from tests.serving.processes import serving, under_load


@pytest.fixture
def home(exported: Path, tmp_path: Path) -> Path:
    """Where a bundle is served from."""
    return Path(shutil.copytree(exported, tmp_path / "run" / "bundle"))


@pytest.fixture
def models(home: Path, settings: Settings) -> Iterator[Models]:
    models = Models({"toy": home}, settings)
    yield models
    models.close()


@pytest.fixture
def other(exported: Path, tmp_path: Path) -> Path:
    return bundles.other_weights(exported, tmp_path / "other")


def texts(models: Models) -> np.ndarray:
    model = models.get(None)
    ids = model.opened.preprocessor.texts(["a red star"])
    return asyncio.run(models.run(model, "text", ids, time.monotonic() + 10))


def test_the_new_bundle_answers(models: Models, home: Path, other: Path) -> None:
    before = texts(models)
    sha256 = bundles.put(other, home)
    assert models.reload("toy").result().sha256 == models.get(None).sha256 == sha256
    np.testing.assert_allclose(texts(models), Bundle.open(other).encode_texts(["a red star"]), atol=1e-6)
    assert not np.allclose(texts(models), before, atol=1e-2)


def test_a_request_that_has_the_old_model_ends_with_it(models: Models, home: Path, other: Path) -> None:
    old, before = models.get(None), texts(models)
    bundles.put(other, home)
    models.reload("toy").result()
    ids = old.opened.preprocessor.texts(["a red star"])
    rows = asyncio.run(models.run(old, "text", ids, time.monotonic() + 10))
    np.testing.assert_array_equal(rows, before)


def test_an_old_engine_is_closed_when_no_request_can_want_it(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    class Timer:
        def __init__(self, seconds: float, work: Callable[[], None]) -> None:
            waited.append(seconds)
            self.start = work

    monkeypatch.setattr("serving.models.threading.Timer", Timer)
    old = models.get(None).engine
    models.reload("toy").result()
    assert waited == [models.settings.deadline + 1]
    assert not any(thread.is_alive() for thread in old._threads)
    assert texts(models).shape == (1, 24)


@pytest.mark.parametrize("fault", ["nan", "cut", "gone"])
def test_a_bundle_that_cannot_be_served_is_not(
    models: Models,
    home: Path,
    exported: Path,
    tmp_path: Path,
    fault: str,
) -> None:
    before, sha256 = texts(models), models.get(None).sha256
    if fault == "nan":
        bundles.put(bundles.other_weights(exported, tmp_path / "nan", np.nan), home)
    elif fault == "cut":
        graph = home / "fp32" / "text.onnx"
        graph.write_bytes(graph.read_bytes()[:-100])
    else:
        shutil.rmtree(home)
    with pytest.raises(BundleError, match=r"canary gave no unit row|text\.onnx|no such folder"):
        models.reload("toy").result()
    assert models.get(None).sha256 == sha256
    np.testing.assert_array_equal(texts(models), before)


def test_a_refused_bundle_is_a_conflict_in_one_sentence(
    models: Models, settings: Settings, home: Path
) -> None:
    keyed = settings.model_copy(update={"keys": ("a-key-for-the-tests",)})
    (home / MANIFEST).write_text("{")

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(App(models, keyed))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post(
                "/models/reload", json={}, headers={"Authorization": "Bearer a-key-for-the-tests"}
            )

    answer = asyncio.run(send())
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "bundle_refused")


def test_a_watched_folder_is_followed_as_soon_as_it_is_whole(
    models: Models,
    home: Path,
    other: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "compressor.serving")
    watcher, first = Watcher(models, 0), models.get(None)
    watcher.look()
    assert models.get(None) is first
    shutil.copy(other / MANIFEST, home / MANIFEST)  # copied file by file, the manifest first
    for name in ("image", "text"):
        watcher.look()
        watcher.look()
        assert models.get(None) is first
        shutil.copy(other / "fp32" / f"{name}.onnx", home / "fp32" / f"{name}.onnx")
    watcher.look()
    assert models.get(None) is not first
    np.testing.assert_allclose(texts(models), Bundle.open(other).encode_texts(["a red star"]), atol=1e-6)
    said = [record.getMessage() for record in caplog.records]
    assert [line.split(":")[1].split()[:3] for line in said] == [
        ["the", "new", "bundle"],
        ["now", "serves", "bundle"],
    ]


def test_a_folder_between_two_renames_changes_nothing(
    models: Models,
    home: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    watcher, first = Watcher(models, 0), models.get(None)
    watcher.look()
    home.rename(home.parent / "away")
    watcher.look()
    (home.parent / "away").rename(home)
    watcher.look()
    assert models.get(None) is first
    assert not caplog.records


def test_several_workers_follow_unasked() -> None:
    assert seconds_between(Settings()) == 0
    assert seconds_between(Settings(watch=5)) == 5
    assert seconds_between(Settings(workers=2)) == 1
    assert seconds_between(Settings(workers=2, watch=5)) == 5


def test_no_request_fails_while_bundles_are_replaced(
    exported: Path,
    home: Path,
    tmp_path: Path,
    files: list[bytes],
) -> None:
    """Eight callers, twenty reloads: embedding, and search in a gallery of the same vectors."""
    turns = [bundles.relabelled(exported, tmp_path / name, name) for name in ("odd", "even")]
    coded = base64.b64encode(files[0]).decode()
    with serving(home, tmp_path / "log") as served:
        items = [{"id": f"p{k}", "image": base64.b64encode(file).decode()} for k, file in enumerate(files)]
        assert served.ask("POST", "/gallery", json={"items": items}).status_code == 200
        requests: list[tuple[str, dict[str, object]]] = [
            ("/encode/text", {"texts": ["a red star", "a blue ring"]}),
            ("/encode/image", {"images": [coded]}),
            ("/search", {"text": "a red star"}),
            ("/search", {"image": coded}),
        ]
        with under_load(served, requests, callers=8) as load:
            for turn in range(1, 21):
                sha256 = bundles.put(turns[turn % 2], home)
                answer = served.ask("POST", "/models/reload", json={})
                assert answer.status_code == 200, answer.text
                assert [model["sha256"] for model in answer.json()["models"]] == [sha256]
        assert load.all_well, load.failures[:5]
        assert min(load.answers.values()) >= 20
        print(f"20 reloads under {sum(load.answers.values())} requests: none failed")
        served.process.terminate()
        assert served.process.wait(30) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()
