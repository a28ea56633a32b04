"""Engines with the real TensorRT, as far as this machine has it; the summary names what it could not do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compressor.errors import BundleError, MissingDependencyError
from compressor.export import tensorrt as builder
from compressor.export.tensorrt import build_engine
from compressor.runtime import tensorrt_tower
from compressor.runtime.engine import Batches, Fingerprint, write_engine
from compressor.runtime.nvidia import Gpu, find_gpu, load_cuda, load_tensorrt, why_no_tensorrt
from compressor.runtime.session import Tower
from compressor.runtime.tensorrt_tower import TensorRTTower
from tests.runtime.machine import not_verified, why_missing
from tests.runtime.toy_graph import write_graph

SIZES = Batches(1, 4, 8)
ENDS = {"image": ("pixel_values", "image_embeds"), "text": ("input_ids", "text_embeds")}


def test_an_engine_gives_the_rows_of_onnx_runtime(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    reason = why_no_tensorrt()
    if reason is not None:
        not_verified("that TensorRT builds an engine, and that it gives the rows of ONNX Runtime", reason)
        with pytest.raises(MissingDependencyError) as caught:
            build_engine(write_graph(tmp_path / "x.onnx"), tmp_path / "x.engine", {"x": SIZES})
        assert str(caught.value) in reason
        return
    exported: Path = request.getfixturevalue("exported")
    for name, ends in ENDS.items():
        graph = exported / f"fp32/{name}.onnx"
        build_engine(graph, tmp_path / name, {ends[0]: SIZES}, timing_cache=tmp_path / "timings")
        reference, engine = Tower(graph, *ends, threads=1), TensorRTTower(tmp_path / name, *ends)
        rows = np.random.default_rng(0).integers(0, 9, (17, *reference.item_shape))
        rows = rows.astype(np.float32 if name == "image" else np.int64)
        for count in (0, 1, 3, 7, 17):
            assert np.allclose(engine.run(rows[:count]), reference.run(rows[:count]), atol=1e-3)


def test_bindings_that_give_nothing_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU the bindings' own constructors fail: here a GPU is claimed, so that they are reached."""
    reason = why_missing(load_tensorrt) or why_missing(load_cuda)
    if reason is not None:
        not_verified("what TensorRT's bindings raise where there is no GPU", reason)
        assert "is not installed" in reason or "does not import" in reason
        return
    if why_missing(find_gpu) is None:
        not_verified("what TensorRT's bindings raise where there is no GPU", "this machine has one")
        assert find_gpu().name
        return
    gpu, version = Gpu("Claimed", "9.0"), load_tensorrt().__version__
    for module in (builder, tensorrt_tower):
        monkeypatch.setattr(module, "find_gpu", lambda: gpu)
    with pytest.raises(MissingDependencyError, match=r"^TensorRT cannot use the GPU of this machine: "):
        build_engine(write_graph(tmp_path / "x.onnx"), tmp_path / "x.engine", {"x": SIZES})
    fingerprint = Fingerprint(gpu.name, gpu.compute_capability, version, "0" * 64, {"x": SIZES})
    write_engine(tmp_path / "x.engine", fingerprint, b"no plan")
    with pytest.raises(BundleError, match=r"x\.engine: TensorRT cannot load this engine: "):
        TensorRTTower(tmp_path / "x.engine", "x", "y")
