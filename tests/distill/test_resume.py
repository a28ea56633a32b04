"""SIGKILL at any moment, and again: the weights at the end are those of an undisturbed run."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from compressor.distill.curves import read_curves
from compressor.files import sha256_file
from tests.distill.resumable import STEPS, run

KILLS = 3


@pytest.fixture(scope="module")
def server() -> ForkServerContext:
    """Imports torch once; every training is a fresh process of its own all the same."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.distill.resumable"])
    return context


def finish(server: ForkServerContext, folder: Path) -> None:
    process = server.Process(target=run, args=(folder, 0.0))
    process.start()
    process.join(120)
    assert process.exitcode == 0


def wait_for_a_step(metrics: Path) -> None:
    """Return once the process just started has recorded a step: a resume first drops the records
    after its checkpoint, all of them where none was written, so that the file shrinks before it grows."""
    fewest = len(read_curves(metrics))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        records = len(read_curves(metrics))
        if records > fewest:
            return
        fewest = records
        time.sleep(0.002)
    raise AssertionError("no step was recorded within a minute")


def kill_at_random(server: ForkServerContext, folder: Path, chance: random.Random) -> None:
    """Start the run and kill it somewhere: while it prepares, steps, validates or writes a checkpoint."""
    process = server.Process(target=run, args=(folder, 0.01))
    process.start()
    wait_for_a_step(folder / "run" / "metrics.jsonl")
    time.sleep(chance.uniform(0.0, 0.12))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_killed_again_and_again_it_ends_with_the_same_weights(
    server: ForkServerContext, tmp_path: Path
) -> None:
    finish(server, tmp_path / "undisturbed")
    chance = random.Random(time.time_ns())
    for _ in range(KILLS):
        kill_at_random(server, tmp_path / "killed", chance)
    reached = len(read_curves(tmp_path / "killed" / "run" / "metrics.jsonl"))
    assert 0 < reached < STEPS
    finish(server, tmp_path / "killed")

    last = f"run/checkpoints/step-{STEPS:08d}"
    names = [f"{last}/{name}.safetensors" for name in ("model", "optimizer", "losses", "average")]
    best = [
        path.relative_to(tmp_path / "undisturbed") for path in (tmp_path / "undisturbed/run/best").glob("*/*")
    ]
    assert best
    for name in [*names, *best]:
        assert sha256_file(tmp_path / "undisturbed" / name) == sha256_file(tmp_path / "killed" / name), name
    curves = [read_curves(tmp_path / which / "run" / "metrics.jsonl") for which in ("undisturbed", "killed")]
    for one, other in zip(*curves, strict=True):
        for record in (one, other):
            del record["images_per_second"]
        assert one == other
    assert not list((tmp_path / "killed" / "run" / "checkpoints").glob(".*")), (
        "temporary folders were left behind"
    )
