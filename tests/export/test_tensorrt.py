"""Engines: what the builder is told, in both versions, and every way in which it can fail."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from compressor.errors import DataError, DiskFullError, MissingDependencyError, ModelError
from compressor.export import tensorrt as module
from compressor.export.tensorrt import build_engine
from compressor.files import sha256_file
from compressor.runtime.engine import Batches, read_engine
from tests.runtime.fake_gpu import FakeTensorRT, install, without
from tests.runtime.toy_graph import write_graph

PROFILE = {"x": Batches(1, 4, 8)}


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    return install(monkeypatch)[0]


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_graph(tmp_path / "x.onnx")


@pytest.mark.parametrize(("version", "flags"), [("10.16.1.11", 0b10), ("11.4.0.106", 0b1)])
def test_the_network_is_strongly_typed_in_both_versions(
    monkeypatch: pytest.MonkeyPatch, graph: Path, tmp_path: Path, version: str, flags: int
) -> None:
    fake, _ = install(monkeypatch, version)
    fingerprint = build_engine(graph, tmp_path / "x.engine", PROFILE, workspace_bytes=1 << 20)
    assert fake.networks == [flags]
    (config,) = fake.configs
    assert (config.flags, config.limits) == (set(), {"WORKSPACE": 1 << 20})
    assert config.profile is not None
    assert config.profile.shapes == {"x": [(1, 3), (4, 3), (8, 3)]}
    assert (fingerprint.gpu, fingerprint.tensorrt) == ("NVIDIA Test GPU", version)
    assert fingerprint.onnx_sha256 == sha256_file(graph)
    assert read_engine(tmp_path / "x.engine")[0] == fingerprint


def test_timings_are_kept_for_the_next_build(tensorrt: FakeTensorRT, graph: Path, tmp_path: Path) -> None:
    for _ in range(2):
        build_engine(graph, tmp_path / "x.engine", PROFILE, timing_cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    assert file.name == "timings-NVIDIA-Test-GPU-10.16.1.11.cache"
    assert tensorrt.timings_used == [b"", b"timings"]


def test_timings_of_another_machine_are_not_used(tensorrt: FakeTensorRT, graph: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache/timings-NVIDIA-Test-GPU-10.16.1.11.cache"
    cache.parent.mkdir()
    cache.write_bytes(b"of another driver")
    build_engine(graph, tmp_path / "x.engine", PROFILE, timing_cache=cache.parent)
    assert tensorrt.timings_used == [b"of another driver", b""]
    assert cache.read_bytes() == b"timings"


def test_what_the_parser_cannot_read_is_named(tensorrt: FakeTensorRT, tmp_path: Path) -> None:
    graph = write_graph(tmp_path / "int8.onnx", "DynamicQuantizeLinear")
    with pytest.raises(
        ModelError,
        match=r"int8\.onnx: TensorRT cannot read this graph: node 0 \(DynamicQuantizeLinear somewhere\): No",
    ):
        build_engine(graph, tmp_path / "x.engine", PROFILE)


def test_no_engine_is_an_error_with_the_builder_s_words(
    tensorrt: FakeTensorRT, graph: Path, tmp_path: Path
) -> None:
    tensorrt.builds = False
    with pytest.raises(
        ModelError, match="can make no engine of this graph: Could not find any implementation"
    ):
        build_engine(graph, tmp_path / "x.engine", PROFILE)
    assert not (tmp_path / "x.engine").exists()


def test_a_gpu_that_the_builder_cannot_use_is_an_error(
    tensorrt: FakeTensorRT, graph: Path, tmp_path: Path
) -> None:
    tensorrt.usable = False
    with pytest.raises(MissingDependencyError, match=r"cannot use the GPU .*: Unable to initialize CUDA"):
        build_engine(graph, tmp_path / "x.engine", PROFILE)


def test_without_tensorrt_the_sentence_says_how_to_get_it(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        without(monkeypatch, "tensorrt"),
        pytest.raises(
            MissingDependencyError, match=r"TensorRT is not installed \(pip install 'compressor\[gpu"
        ),
    ):
        build_engine(graph, tmp_path / "x.engine", PROFILE)


@pytest.mark.parametrize(
    ("shape", "profiles", "words"),
    [
        (("batch", 3), {}, "has the inputs x, and there are profiles for none"),
        (("batch", 3), {"x": Batches(1, 1, 1), "z": Batches(1, 1, 1)}, "and there are profiles for x, z"),
        (("batch", "side"), PROFILE, r"x has the shape \(-1, -1\); the batch, and nothing else, must be dyn"),
        ((2, 3), PROFILE, r"x has the shape \(2, 3\)"),
        (("batch", 3), {"x": Batches(4, 2, 8)}, "refuses the batch sizes x 4/2/8"),
        (("batch", 3), {"x": Batches(0, 2, 8)}, "refuses the batch sizes x 0/2/8"),
    ],
)
def test_profiles_that_do_not_fit_are_refused(
    tensorrt: FakeTensorRT,
    tmp_path: Path,
    shape: tuple[object, ...],
    profiles: dict[str, Batches],
    words: str,
) -> None:
    graph = write_graph(tmp_path / "x.onnx", shape=shape)
    with pytest.raises(ModelError, match=words):
        build_engine(graph, tmp_path / "x.engine", profiles)


def test_a_file_that_is_not_there_is_refused(tensorrt: FakeTensorRT, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such ONNX file"):
        build_engine(tmp_path / "none.onnx", tmp_path / "x.engine", PROFILE)


def test_a_full_disk_is_named(
    tensorrt: FakeTensorRT, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise DiskFullError("no space left on the disk") from OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(module, "write_engine", full)
    with pytest.raises(DiskFullError):
        build_engine(graph, tmp_path / "x.engine", PROFILE)
