"""A tower in OpenVINO: against ONNX Runtime where it is installed, by its interface otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compressor.errors import BundleError, ModelError
from compressor.runtime.openvino_tower import OpenVINOTower, load_openvino
from compressor.runtime.session import Tower
from tests.export.toys import LENGTH, SIZE
from tests.runtime.fake_openvino import FakeOpenVINO, install
from tests.runtime.machine import not_verified, why_missing

IMAGE, TEXT = ("pixel_values", "image_embeds"), ("input_ids", "text_embeds")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeOpenVINO:
    return install(monkeypatch)


def test_the_interface_is_that_of_a_tower(exported: Path, fake: FakeOpenVINO) -> None:
    _compare(exported)
    assert fake.settings["INFERENCE_NUM_THREADS"] == 1
    assert fake.settings["INFERENCE_PRECISION_HINT"] == "f32"
    assert OpenVINOTower(exported / "fp32/image.onnx", *IMAGE).providers == ("OpenVINO",)
    assert "INFERENCE_PRECISION_HINT" not in fake.settings


def test_the_real_openvino_gives_the_same_rows(exported: Path) -> None:
    """Where it is not installed, the summary says so, and the sentence about it is what is left."""
    missing = why_missing(load_openvino)
    if missing is None:
        _compare(exported)
    else:
        not_verified("rows from OpenVINO", missing)
        assert missing == "OpenVINO is not installed (pip install 'compressor[openvino]')"


def test_what_does_not_fit_is_refused(exported: Path, fake: FakeOpenVINO) -> None:
    path = exported / "fp32/text.onnx"
    with pytest.raises(BundleError, match=r"not a tower with input pixel_values .* it has inputs input_ids"):
        OpenVINOTower(path, *IMAGE, threads=1)
    with pytest.raises(BundleError, match=r"OpenVINO cannot load this graph: Device is not registered$"):
        OpenVINOTower(path, *TEXT, threads=1, device="NPU")
    with pytest.raises(BundleError, match="threads must be at least 1, not 0"):
        OpenVINOTower(path, *TEXT, threads=0)
    with pytest.raises(BundleError, match="threads must be at most 1024, not 100000"):
        OpenVINOTower(path, *TEXT, threads=100_000)
    tower = OpenVINOTower(path, *TEXT, threads=1)
    with pytest.raises(ModelError, match=r"input_ids must be int64 \(N, 12\), not float64"):
        tower.run(np.zeros((1, LENGTH)))
    with pytest.raises(ModelError, match=r"input_ids \(1, 12\) cannot be run: "):
        tower.run(np.full((1, LENGTH), 10**6, np.int64))


def _compare(exported: Path) -> None:
    pixels = np.random.default_rng(0).standard_normal((7, 3, SIZE, SIZE), np.float32)
    ids = np.arange(7 * LENGTH, dtype=np.int64).reshape(7, LENGTH)
    for name, ends, rows in (("image", IMAGE, pixels), ("text", TEXT, ids)):
        path = exported / f"fp32/{name}.onnx"
        reference = Tower(path, *ends, threads=1)
        tower = OpenVINOTower(path, *ends, threads=1, precision="f32")
        assert (tower.item_shape, tower.width) == (reference.item_shape, reference.width)
        for count in (0, 1, 7):
            assert np.allclose(tower.run(rows[:count]), reference.run(rows[:count]), atol=1e-5)
        kept = tower.run(rows[:1])
        tower.run(rows[1:2])
        assert np.allclose(kept, reference.run(rows[:1]), atol=1e-5)
