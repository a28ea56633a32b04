"""Kills, Ctrl-C, a full disk, two runs at once: what was finished is kept, no half of a file is trusted."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

import compressor
from compressor.errors import DiskFullError
from compressor.files import sha256_file
from compressor.pipeline.folder import RunFolder
from tests.integration.conftest import Finished, program
from tests.integration.kills import UNTIL_DISTILL, kill_after, start, steps
from tests.integration.tiny import write_recipe
from tests.pipeline.test_folder import holder

STEPS = 36


@pytest.fixture
def write(teacher: Path, tmp_path: Path) -> Callable[[str], RunFolder]:
    """write(name) -> the folder of a run to come, in a home of its own, with checkpoints often."""

    def write_home(name: str) -> RunFolder:
        write_recipe(
            tmp_path / name,
            teacher={"path": str(teacher)},
            distill={"epochs": STEPS // 3, "checkpoint_every": 2},
        )
        return RunFolder(tmp_path / name / "runs" / "tiny")

    return write_home


def weights(folder: RunFolder) -> list[str]:
    files = [folder.checkpoint, folder.root / "control" / "checkpoint"]
    return [sha256_file(file / "model.safetensors") for file in files]


def test_killed_again_and_again_it_ends_with_the_same_weights(
    server: ForkServerContext, write: Callable[[str], RunFolder]
) -> None:
    undisturbed, killed = write("undisturbed"), write("killed")
    first = start(server, undisturbed)
    chance = random.Random(2404)
    for role, step in (
        ("student", 3),
        ("student", chance.randint(8, 24)),
        ("control", chance.randint(3, 24)),
    ):
        kill_after(server, killed, role, step, chance.uniform(0, 0.03))
        assert killed.record("distill") is None
    last = start(server, killed)
    for process in (first, last):
        process.join(120)
        assert process.exitcode == 0
    assert weights(killed) == weights(undisturbed)
    log = killed.log.read_text()
    assert log.count("distill: started") == 4
    assert log.count("distill: finished") == 1
    assert log.count("cache: finished") == 1, "what was finished is not done again"
    assert steps(killed, "student") == steps(killed, "control") == STEPS
    assert not [file for file in killed.root.rglob("*") if ".tmp-" in file.name]


def test_ctrl_c_is_one_sentence_and_the_same_command_continues(write: Callable[[str], RunFolder]) -> None:
    folder = write("interrupted")
    home = folder.root.parents[1]
    longer = ("distill.epochs=40", "distill.control=false")
    process = program(*UNTIL_DISTILL, *longer, cwd=home)
    deadline = time.monotonic() + 120
    while steps(folder, "student") < 5 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err == "interrupted; what was finished is kept and the same command continues\n"
    assert "[3/7] distill" in out
    assert folder.record("cache") is not None
    assert folder.record("distill") is None
    reached = steps(folder, "student")
    newest = max(folder.training.glob("*/student/checkpoints/step-*"))
    assert int(newest.name.removeprefix("step-")) == reached, "the step at hand was finished and kept"
    compressor.run(home / "recipe.yaml", longer, runs=home / "runs", until="distill")
    assert folder.record("distill") is not None
    assert steps(folder, "student") == 120


def test_ctrl_c_while_libraries_load_is_the_same(write: Callable[[str], RunFolder]) -> None:
    folder = write("early")
    process = program(*UNTIL_DISTILL, cwd=folder.root.parents[1])
    deadline = time.monotonic() + 60
    while not folder.log.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)  # swallowed by a library, it still ends the run after the stage
    _, err = process.communicate(timeout=120)
    # Where Ctrl-C falls into code made by `exec`, Python ends itself with the signal: 130 to a shell as well.
    assert process.returncode in (130, -signal.SIGINT), err
    assert err == "interrupted; what was finished is kept and the same command continues\n"


def test_two_runs_in_one_folder(finished: Finished) -> None:
    with holder(finished.folder.root) as first:
        process = program("run", "recipe.yaml", cwd=finished.home)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 5
    assert out == ""
    assert f"in use by process {first.pid}" in err
    assert err.count("\n") == 1


class FullDisk:
    """A disk that is full after so many files have been flushed to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self._fsync = os.fsync
        self.flushed = 0
        self.room: int | None = None
        monkeypatch.setattr(os, "fsync", self._flush)

    def _flush(self, descriptor: int) -> None:
        if self.room is not None and self.flushed >= self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.flushed += 1
        self._fsync(descriptor)

    def full_after(self, files: int | None) -> None:
        self.flushed, self.room = 0, files


def test_a_full_disk_is_one_sentence_and_nothing_half_written_is_trusted(
    again: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = weights(again.folder)
    exported = again.folder.record("export")
    assert exported is not None
    runs = again.home / "runs"
    shutil.rmtree(runs)
    disk = FullDisk(monkeypatch)
    disk.full_after(None)
    compressor.run(again.recipe, runs=runs, until="distill")
    needed = disk.flushed
    assert weights(again.folder) == expected
    shutil.rmtree(runs)
    failures = []
    for room in (0, *sorted(random.Random(7).sample(range(1, needed), 6))):
        disk.full_after(room)
        try:
            compressor.run(again.recipe, runs=runs, until="distill")
        except DiskFullError as error:
            failures.append(error)
    assert len(failures) >= 4, "each try gets a little further than the one before"
    for failure in failures:
        assert "no space left on the disk" in str(failure)
        assert "\n" not in str(failure)
        assert failure.exit_code == 1
    disk.full_after(None)
    compressor.run(again.recipe, runs=runs, until="export")
    assert weights(again.folder) == expected
    made_again = again.folder.record("export")
    assert made_again is not None
    assert made_again["outputs"] == exported["outputs"]
    assert not [file for file in runs.rglob("*") if ".tmp-" in file.name]


def test_a_full_disk_while_the_end_is_written(again: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stages that measure and report write little, and all of it through the same door."""
    disk = FullDisk(monkeypatch)
    goals = ["goals=['quality.student.rsum >= 2']"]
    for room in range(4):
        disk.full_after(room)
        with pytest.raises(DiskFullError):
            compressor.run(again.recipe, goals, runs=again.home / "runs", start="evaluate")
    disk.full_after(None)
    results = compressor.run(again.recipe, goals, runs=again.home / "runs")
    assert results is not None
    assert results.goals[0].verdict == "met"
