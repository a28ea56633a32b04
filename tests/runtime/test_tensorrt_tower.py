"""A tower as a TensorRT engine: the same rows as from ONNX Runtime at any batch; failures are named."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compressor.errors import BundleError, MissingDependencyError, ModelError
from compressor.export.tensorrt import build_engine
from compressor.runtime.engine import Batches, read_engine, write_engine
from compressor.runtime.opening import open_tower
from compressor.runtime.session import Tower
from compressor.runtime.tensorrt_tower import TensorRTTower
from tests.export.toys import LENGTH, SIZE, WIDTH
from tests.runtime.fake_cuda import FakeCuda
from tests.runtime.fake_gpu import install, without

Build = Callable[..., Path]
SIZES = Batches(1, 4, 8)
ENDS = {"image": ("pixel_values", "image_embeds"), "text": ("input_ids", "text_embeds")}


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    return install(monkeypatch)[1]


@pytest.fixture
def build(exported: Path, tmp_path: Path, cuda: FakeCuda) -> Build:
    def make(tower: str = "image", sizes: Batches = SIZES) -> Path:
        target = tmp_path / f"{tower}.engine"
        build_engine(exported / f"fp32/{tower}.onnx", target, {ENDS[tower][0]: sizes})
        return target

    return make


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, 3, SIZE, SIZE), np.float32)


@pytest.mark.parametrize("sizes", [SIZES, Batches(2, 2, 3)])
@pytest.mark.parametrize("count", [0, 1, 3, 7, 17])
def test_rows_are_those_of_onnx_runtime_at_any_batch(
    exported: Path, build: Build, sizes: Batches, count: int
) -> None:
    reference = Tower(exported / "fp32/image.onnx", *ENDS["image"], threads=1)
    tower = TensorRTTower(build(sizes=sizes), *ENDS["image"])
    assert (tower.item_shape, tower.width) == (reference.item_shape, reference.width)
    assert np.allclose(tower.run(pixels(count)), reference.run(pixels(count)), atol=1e-6)
    assert tower.run(pixels(count)).shape == (count, WIDTH)


def test_texts_are_whole_numbers(exported: Path, build: Build) -> None:
    reference = Tower(exported / "fp32/text.onnx", *ENDS["text"], threads=1)
    tower = TensorRTTower(build("text"), *ENDS["text"])
    ids = np.arange(5 * LENGTH, dtype=np.int64).reshape(5, LENGTH)
    assert np.allclose(tower.run(ids), reference.run(ids), atol=1e-6)
    with pytest.raises(ModelError, match=r"input_ids must be int64 \(N, 12\), not int32"):
        tower.run(ids.astype(np.int32))


def test_an_engine_file_opens_as_an_engine(build: Build) -> None:
    tower = open_tower(build(), *ENDS["image"], threads=3)
    assert (tower.providers, tower.threads) == (("TensorRT",), 3)
    with pytest.raises(BundleError, match="an engine runs in TensorRT; open it without providers"):
        open_tower(build(), *ENDS["image"], providers=["cpu"])


def test_several_threads_get_their_own_rows(build: Build) -> None:
    tower = TensorRTTower(build(), *ENDS["image"])
    expected = {count: tower.run(pixels(count)) for count in range(1, 9)}
    found: dict[int, np.ndarray] = {}

    def work(count: int) -> None:
        found[count] = tower.run(pixels(count))

    threads = [threading.Thread(target=work, args=(count,)) for count in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[count], rows) for count, rows in expected.items())


def test_memory_of_the_gpu_is_given_back(build: Build, cuda: FakeCuda) -> None:
    tower = TensorRTTower(build(), *ENDS["image"])
    assert len(cuda.held) == 3  # a stream and two buffers
    del tower
    gc.collect()
    assert not cuda.held


def test_a_gpu_without_room_gives_back_what_it_gave(build: Build, cuda: FakeCuda) -> None:
    path = build()
    cuda.memory = 8 * 3 * SIZE * SIZE * 4 - 1
    with pytest.raises(
        ModelError, match=r"no room on the GPU for batches of 8 \(0 MB\): cudaErrorMemoryAlloc"
    ):
        TensorRTTower(path, *ENDS["image"])
    gc.collect()
    assert not cuda.held


def test_engines_of_another_gpu_version_or_graph_are_refused(build: Build, tmp_path: Path) -> None:
    fingerprint, plan = read_engine(build())
    other = tmp_path / "other.engine"
    write_engine(other, replace(fingerprint, gpu="Orin"), plan)
    with pytest.raises(
        BundleError, match=r"was built for GPU Orin and here it is NVIDIA Test GPU; build it on"
    ):
        TensorRTTower(other, *ENDS["image"])
    write_engine(other, replace(fingerprint, tensorrt="10.3.0"), plan)
    with pytest.raises(BundleError, match=r"TensorRT 10\.3\.0 and here it is 10\.16\.1\.11"):
        TensorRTTower(other, *ENDS["image"])
    with pytest.raises(BundleError, match="ONNX file with sha256"):
        TensorRTTower(build(), *ENDS["image"], onnx_sha256="0" * 64)


def test_bytes_that_tensorrt_does_not_take_are_refused_with_its_words(build: Build, tmp_path: Path) -> None:
    fingerprint, _ = read_engine(build())
    write_engine(tmp_path / "bad.engine", fingerprint, b"no plan")
    with pytest.raises(BundleError, match="cannot load this engine: the plan has no magic tag"):
        TensorRTTower(tmp_path / "bad.engine", *ENDS["image"])


def test_another_tower_is_refused(build: Build, tmp_path: Path) -> None:
    with pytest.raises(
        BundleError, match="not a tower with input input_ids and output text_embeds; it has pix"
    ):
        TensorRTTower(build(), *ENDS["text"])
    fingerprint, plan = read_engine(build())
    write_engine(tmp_path / "bad.engine", replace(fingerprint, profiles={}), plan)
    with pytest.raises(BundleError, match="has no profile for pixel_values"):
        TensorRTTower(tmp_path / "bad.engine", *ENDS["image"])


def test_a_failing_run_is_one_sentence(build: Build) -> None:
    tower = TensorRTTower(build("text"), *ENDS["text"])
    with pytest.raises(ModelError, match=r"input_ids \(1, 12\) cannot be run: ") as caught:
        tower.run(np.full((1, LENGTH), 10**6, np.int64))
    assert "\n" not in str(caught.value)
    assert tower.run(np.zeros((1, LENGTH), np.int64)).shape == (1, WIDTH)


def test_without_tensorrt_an_engine_says_what_is_missing(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = build()
    with (
        without(monkeypatch, "tensorrt"),
        pytest.raises(MissingDependencyError, match="TensorRT is not installed"),
    ):
        TensorRTTower(path, *ENDS["image"])
