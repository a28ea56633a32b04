"""The run folder: one process at a time, and a record that is only trusted while everything stands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from compressor.errors import RunLockedError
from compressor.pipeline.folder import RunFolder

HOLD = """
import sys
from pathlib import Path
from compressor.pipeline.folder import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that works in `folder` until its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A folder with one finished stage, whose outputs are a file and a folder of two files."""
    folder = RunFolder(tmp_path / "runs" / "one")
    (folder.root / "bundle" / "fp32").mkdir(parents=True)
    for name in ("facts.json", "bundle/bundle.json", "bundle/fp32/image.onnx"):
        (folder.root / name).write_text(f"content of {name}")
    outputs = [folder.root / "facts.json", folder.bundle]
    folder.finish("export", "key", outputs, 1.25, {"parameters": 3})
    return folder


def test_a_second_process_is_refused_with_the_number_of_the_first(tmp_path: Path) -> None:
    with (
        holder(tmp_path / "run") as process,
        pytest.raises(RunLockedError, match=rf"in use by process {process.pid};") as caught,
        RunFolder(tmp_path / "run").locked(),
    ):
        pytest.fail("two processes hold one folder")
    assert caught.value.exit_code == 5


def test_the_lock_vanishes_with_a_killed_process(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with holder(folder.root) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with folder.locked():
            assert (folder.root / ".lock").read_text() == str(os.getpid())


def test_the_lock_is_free_after_an_error(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(ValueError, match="inside"), folder.locked():
        raise ValueError("inside")
    with folder.locked():
        pass


def test_other_folders_are_not_locked(tmp_path: Path) -> None:
    with holder(tmp_path / "one"), RunFolder(tmp_path / "two").locked():
        pass


def test_a_finished_stage_is_known_by_its_key(folder: RunFolder) -> None:
    assert folder.finished("export", "key")
    assert not folder.finished("export", "another key")
    assert not folder.finished("evaluate", "key")
    record = folder.record("export")
    assert record is not None
    assert record["facts"] == {"parameters": 3}
    assert record["seconds"] == 1.25
    assert set(record["outputs"]) == {"facts.json", "bundle/bundle.json", "bundle/fp32/image.onnx"}


@pytest.mark.parametrize("name", ["facts.json", "bundle/fp32/image.onnx"])
@pytest.mark.parametrize("damage", ["deleted", "truncated", "altered", "replaced by a folder"])
def test_a_stage_is_not_finished_when_an_output_is_gone_or_changed(
    folder: RunFolder, name: str, damage: str
) -> None:
    file = folder.root / name
    content = file.read_bytes()
    file.unlink()
    if damage == "truncated":
        file.write_bytes(content[:-1])
    elif damage == "altered":
        file.write_bytes(content[:-1] + b"?")
    elif damage == "replaced by a folder":
        file.mkdir()
    assert not folder.finished("export", "key")


def test_a_forgotten_stage_runs_again_and_the_others_stay(folder: RunFolder) -> None:
    folder.finish("evaluate", "key", [folder.root / "facts.json"], 1.0, {})
    folder.forget("export")
    assert folder.record("export") is None
    assert folder.finished("evaluate", "key")
    folder.forget("export")


def _state(**export: Any) -> str:
    entry = {"key": "key", "seconds": 1.0, "facts": {}, "outputs": {}}
    return json.dumps({"version": 1, "stages": {"export": entry | export}})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff\xfe",
        b"{",
        b"null",
        b"[]",
        b'"state"',
        b'{"version": 1}',
        b'{"version": 1, "stages": []}',
        b'{"version": 1, "stages": {"export": "key"}}',
        b'{"version": 1, "stages": {"export": {"key": "key"}}}',
        b"[" * 100_000,
        _state().replace('"version": 1', '"version": 2').encode(),
        _state(outputs=[]).encode(),
        _state(outputs={"facts.json": {}}).encode(),
        _state(outputs={"facts.json": {"bytes": "3", "sha256": "x"}}).encode(),
        _state(facts=None).encode(),
        _state(key=None).encode(),
        _state(seconds="long").encode(),
    ],
)
def test_a_damaged_state_is_not_trusted_and_is_written_anew(folder: RunFolder, content: bytes) -> None:
    folder.state_file.write_bytes(content)
    assert folder.record("export") is None
    assert not folder.finished("export", "key")
    folder.forget("export")
    folder.finish("export", "key", [folder.root / "facts.json"], 1.0, {})
    assert folder.finished("export", "key")


def test_one_damaged_entry_does_not_cost_the_others(folder: RunFolder) -> None:
    state = json.loads(folder.state_file.read_text())
    state["stages"]["evaluate"] = {"key": 3}
    folder.state_file.write_text(json.dumps(state))
    assert folder.finished("export", "key")
    assert folder.record("evaluate") is None


def test_a_whole_state_is_trusted(folder: RunFolder) -> None:
    folder.state_file.write_text(_state())
    assert folder.finished("export", "key")


def test_a_stage_stays_finished_when_a_later_one_completes_its_output(folder: RunFolder) -> None:
    file = folder.root / "bundle" / "bundle.json"
    for content in (b"completed", b"completed again"):
        folder.rewrite("export", file, content)
        assert file.read_bytes() == content
        assert folder.finished("export", "key")
    file.write_bytes(b"completed by somebody else")
    assert not folder.finished("export", "key")


def test_what_was_recorded_first_stays_so_that_no_later_stage_runs_again(folder: RunFolder) -> None:
    before = folder.record("export")
    assert before is not None
    folder.rewrite("export", folder.root / "bundle" / "bundle.json", b"completed")
    after = folder.record("export")
    assert after is not None
    assert after["outputs"] == before["outputs"]


def test_a_kill_before_the_file_is_replaced_leaves_a_finished_stage(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(file: Path, content: bytes) -> None:
        raise KeyboardInterrupt

    file = folder.root / "bundle" / "bundle.json"
    folder.rewrite("export", file, b"completed")
    monkeypatch.setattr("compressor.pipeline.folder.atomic_write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        folder.rewrite("export", file, b"completed again")
    assert file.read_bytes() == b"completed"
    assert folder.finished("export", "key")


def test_a_record_with_a_damaged_history_is_not_trusted(folder: RunFolder) -> None:
    folder.rewrite("export", folder.root / "bundle" / "bundle.json", b"completed")
    state = json.loads(folder.state_file.read_text())
    for damage in ([], {"bundle/bundle.json": [1]}, {"bundle/bundle.json": {}}):
        state["stages"]["export"]["rewritten"] = damage
        folder.state_file.write_text(json.dumps(state))
        assert folder.record("export") is None
