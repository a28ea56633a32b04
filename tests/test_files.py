"""Files are whole or absent, also when a process is killed in the middle or the disk is full."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from compressor import files
from compressor.errors import DataError, DiskFullError


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_writes_replace_the_old_content_and_leave_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    files.atomic_write_text(target, "first")
    files.atomic_write_text(target, "second é\r\n")
    assert target.read_bytes() == "second é\r\n".encode()
    assert names(target.parent) == ["file.txt"]


def test_written_files_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        files.atomic_write_bytes(tmp_path / "file", b"x")
    finally:
        os.umask(old)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file"
    files.atomic_write_bytes(target, b"old")

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.atomic_write_bytes(target, b"new")
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_its_free_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(DiskFullError, match=r"file: no space left on the disk \(\d+ MB free\)"):
        files.atomic_write_bytes(tmp_path / "file", b"x")
    assert names(tmp_path) == []


def test_other_errors_of_the_disk_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        files.atomic_write_bytes(tmp_path / "folder", b"x")
    assert names(tmp_path) == ["folder"]


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None, True], "a": "ü 日本 🙂"}
    files.write_json(tmp_path / "x.json", value)
    assert files.read_json(tmp_path / "x.json") == value
    assert "🙂" in (tmp_path / "x.json").read_text("utf-8")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_is_never_written_or_hashed(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "x.json", {"loss": value})
    with pytest.raises(ValueError, match="JSON compliant"):
        files.hash_json([value])
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1,\n "b" 2}', r"x\.json:2: not valid JSON"),
        (b"", r"x\.json:1: not valid JSON"),
        (b"\xff\xfe\x00", r"x\.json: not valid JSON: it is not UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"n": ' + b"9" * 6_000 + b"}", "not usable JSON"),
    ],
)
def test_what_is_not_json_is_refused_with_its_place(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(DataError, match=message):
        files.read_json(tmp_path / "x.json")


def test_a_missing_json_file_is_the_ordinary_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.read_json(tmp_path / "none.json")


def test_hash_of_json_ignores_the_order_of_keys_only() -> None:
    assert files.hash_json({"a": 1, "b": [1, 2]}) == files.hash_json({"b": [1, 2], "a": 1})
    assert files.hash_json({"a": [1, 2]}) != files.hash_json({"a": [2, 1]})
    assert files.hash_json({"é": 1}) == hashlib.blake2b(b'{"\\u00e9":1}', digest_size=16).hexdigest()


def test_hash_of_a_file_is_sha256(tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "x").write_bytes(content)
    assert files.sha256_file(tmp_path / "x") == hashlib.sha256(content).hexdigest()


def test_a_folder_takes_the_place_of_the_old_one_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "folder"
    with files.atomic_folder(target) as folder:
        (folder / "old.txt").write_text("old")
    with files.atomic_folder(target) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "new.txt").write_text("new")
        assert (target / "old.txt").exists()
    assert names(target) == ["sub"]
    assert names(target.parent) == ["folder"]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with files.atomic_folder(target) as folder:
        (folder / "old.txt").write_text("old")

    def fill_and_fail() -> None:
        with files.atomic_folder(target) as folder:
            (folder / "new.txt").write_text("new")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fill_and_fail()
    assert names(target) == ["old.txt"]
    assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError('I/O error: Os { code: 28, kind: StorageFull, message: "No space left on device" }'),
    ],
)
def test_a_disk_that_fills_inside_a_folder_is_named(tmp_path: Path, error: Exception) -> None:
    target = tmp_path / "folder"
    with pytest.raises(DiskFullError, match="folder: no space left"), files.atomic_folder(target):
        raise error
    assert names(tmp_path) == []


def test_what_a_killed_process_left_is_cleared_and_a_living_one_is_left_alone(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from compressor.files import atomic_folder\n"
        "with atomic_folder(sys.argv[1]) as folder:\n"
        "    (folder / 'half').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "folder")], check=False)
    assert len(names(tmp_path)) == 1
    assert not (tmp_path / "folder").exists()
    with files.atomic_folder(tmp_path / "folder") as folder:
        (folder / "whole").write_text("whole")
        with files.atomic_folder(tmp_path / "folder"):
            assert folder.exists()
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == ["whole"]
