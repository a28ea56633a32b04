"""The engine file: fingerprint and bytes in one, refused where either is not what it must be."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from compressor.errors import BundleError, DiskFullError
from compressor.runtime.engine import Batches, Fingerprint, read_engine, write_engine
from compressor.runtime.nvidia import Gpu

FINGERPRINT = Fingerprint("Orin", "8.7", "10.3.0", "a" * 64, {"pixel_values": Batches(1, 8, 32)})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_engine(tmp_path / "image.engine", FINGERPRINT, memoryview(b"plan\0bytes"))
    assert read_engine(tmp_path / "image.engine") == (FINGERPRINT, b"plan\0bytes")


@pytest.mark.parametrize(
    ("gpu", "tensorrt", "onnx", "words"),
    [
        (Gpu("Orin", "8.7"), "10.3.0", None, None),
        (Gpu("Orin", "8.7"), "10.3.0", "a" * 64, None),
        (Gpu("Xavier", "7.2"), "10.3.0", None, "GPU Orin and here it is Xavier, compute capability 8.7 and"),
        (Gpu("Orin", "8.7"), "10.4.0", None, "TensorRT 10.3.0 and here it is 10.4.0"),
        (Gpu("Orin", "8.7"), "10.3.0", "b" * 64, "ONNX file with sha256 aaa"),
    ],
)
def test_another_machine_or_graph_is_told(
    gpu: Gpu, tensorrt: str, onnx: str | None, words: str | None
) -> None:
    found = FINGERPRINT.difference(gpu, tensorrt, onnx)
    assert found is None if words is None else words in str(found)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"ftrt" + content,
        lambda content: content[:22],
        lambda content: content[:60],
        lambda content: content.replace(b'"gpu"', b'"cpu"'),
        lambda content: content.replace(b'"max": 32', b'"max" 32 '),
        lambda content: content[:20] + b"\xff\xff\xff\xff" + content[24:],
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "image.engine"
    write_engine(path, FINGERPRINT, b"plan")
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(BundleError, match=r"not an engine that|the fingerprint of this engine is damaged"):
        read_engine(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read: No such file"):
        read_engine(tmp_path / "none.engine")


def test_a_full_disk_is_named_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskFullError, match="no space left"):
        write_engine(tmp_path / "image.engine", FINGERPRINT, b"plan")
    assert list(tmp_path.iterdir()) == []
