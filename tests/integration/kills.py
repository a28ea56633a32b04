"""Runs in processes of their own, and their kills."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.context import ForkServerContext, ForkServerProcess

from compressor.pipeline.folder import RunFolder
from tests.integration import worker

UNTIL_DISTILL = ("run", "recipe.yaml", "--until", "distill")


def start(server: ForkServerContext, folder: RunFolder) -> ForkServerProcess:
    """Run until the training is over, in a process of its own."""
    process = server.Process(target=worker.compressor, args=(folder.root.parents[1], *UNTIL_DISTILL))
    process.start()
    return process


def steps(folder: RunFolder, role: str) -> int:
    """Finished steps in the training of `role`."""
    return sum(file.read_bytes().count(b"\n") for file in folder.training.glob(f"*/{role}/metrics.jsonl"))


def kill_after(server: ForkServerContext, folder: RunFolder, role: str, step: int, pause: float) -> None:
    """Start a run, and kill it `pause` seconds after it has written `step` in the training of `role`."""
    process = start(server, folder)
    deadline = time.monotonic() + 120
    while steps(folder, role) < step and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(pause)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL, (folder.root.parents[1] / "err.txt").read_text()
