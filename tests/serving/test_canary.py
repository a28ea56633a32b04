"""A model that writes is asked for a first token, as one that embeds is for rows."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from compressor.errors import BundleError
from compressor.files import sha256_file
from compressor.recipe.blip import Head
from compressor.runtime.schema import MANIFEST
from serving.app import App
from serving.canary import FIRST_TOKEN, canaries, fault, fault_of, first_token
from serving.models import Models
from serving.settings import Settings
from tests.export.writers import Exported
from tests.serving import bundles
from tests.serving.conftest import Ask

HEADS: tuple[Head, ...] = ("caption", "vqa")


def spoilt(source: Path, folder: Path) -> Path:
    """A copy whose decoder gives NaN, with a manifest that fits."""
    shutil.copytree(source, folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    entry = manifest["artifacts"]["fp32"]["graphs"]["decoder"]["file"]
    path = folder / entry["path"]
    model = onnx.load(path)
    for weights in model.graph.initializer:
        values = numpy_helper.to_array(weights)
        if values.dtype == np.float32 and values.ndim > 1:
            weights.CopyFrom(numpy_helper.from_array(np.full_like(values, np.nan), weights.name))
    onnx.save(model, path)
    entry |= {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def models(writers: dict[Head, Exported], tmp_path: Path) -> Iterator[Models]:
    folders = {}
    for head in HEADS:
        folders[head] = tmp_path / head / "bundle"
        bundles.put(writers[head].folder, folders[head])
    models = Models(folders, Settings(threads=1, deadline=2))
    yield models
    models.close()


@pytest.fixture
def app(models: Models) -> App:
    return App(models, models.settings)


@pytest.mark.parametrize("head", HEADS)
def test_the_first_token_is_the_one_that_is_written_first(
    writers: dict[Head, Exported],
    head: Head,
) -> None:
    writer = writers[head].writer
    ((lane, grey),) = canaries(writer).items()
    logits = first_token(writer, np.repeat(grey, 2, axis=0))
    questions = writer.preprocessor.texts(["what is it?"] * 2) if writer.asks else None
    ids = writer.generate(np.repeat(grey, 2, axis=0), questions, beams=1, max_length=6, min_length=0)
    best = logits.argmax(axis=1)
    end, pad = writer.manifest.vocabulary.end_id, writer.manifest.vocabulary.pad_id
    assert np.where(best == end, pad, best).tolist() == ids[:, 0].tolist()
    assert (lane, fault(lane, logits[:1])) == (FIRST_TOKEN, "")


@pytest.mark.parametrize("wrong", [[np.nan, 1.0], [np.inf, 0.0], [0.0, 0.0], [], [0.0, 1.0, 1.0, 0.0]])
def test_what_is_no_token_is_a_fault(wrong: list[float]) -> None:
    logits = np.array(wrong, np.float32).reshape(-1, 2)
    assert fault(FIRST_TOKEN, logits) == "the canary gave no token"


def test_it_is_ready_when_every_writer_has_answered(ask: Ask, models: Models) -> None:
    lanes: list[str] = []
    for model in models:
        assert fault_of(model.opened) == ""
        model.engine._observe = lambda lane, *_: lanes.append(lane)
    answer = ask("GET", "/readyz")
    assert (answer.status_code, answer.json()["models"]) == (200, list(HEADS))
    assert lanes == [FIRST_TOKEN] * 2


@pytest.mark.parametrize("head", HEADS)
def test_a_writer_that_gives_nan_is_refused_and_the_old_one_stays(
    models: Models, tmp_path: Path, head: Head
) -> None:
    old = models.get(head)
    bundles.put(spoilt(old.folder, tmp_path / "spoilt"), old.folder)
    with pytest.raises(BundleError, match=r"canary failed.*NaN"):
        models.reload(head).result()
    assert models.get(head) is old


def test_one_that_gives_nan_is_not_ready(
    ask: Ask,
    models: Models,
    tmp_path: Path,
) -> None:
    folder = models.get("caption").folder
    bundles.put(spoilt(folder, tmp_path / "spoilt"), folder)
    models._models["caption"] = models._open("caption", folder)
    answer = ask("GET", "/readyz")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
    assert answer.json()["error"]["message"].startswith("caption: ")
    assert "NaN" in answer.json()["error"]["message"]


def test_a_canary_that_waits_behind_others_is_no_fault_until_nobody_is_answered(
    ask: Ask, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.endpoints.state._CANARY", 0.1)
    engine, gate = models.get("caption").engine, threading.Event()

    def slow(*_: object, **__: object) -> np.ndarray:
        assert gate.wait(20)
        return np.zeros((1, 1), int)

    monkeypatch.setattr(type(models.get("caption").opened), "generate", slow)
    job = np.empty(1, object)
    job[0] = (np.zeros((3, 8, 8), np.float32), None, 1, 5)
    try:
        engine.submit("write", job, time.monotonic() + 60)
        assert ask("GET", "/readyz").status_code == 200, "it has answered lately"
        engine._answered -= models.settings.deadline
        assert ask("GET", "/readyz").status_code == 503
    finally:
        gate.set()
