"""Start workers on a gallery and kill them; read what they had acknowledged."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from compressor.gallery import Gallery
from tests.gallery.worker import PER_CALL
from tests.gallery.world import SPACE

ROOT = Path(__file__).parents[2]


def start(at: Path, name: str, calls: int, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.gallery.worker", str(at), name, str(calls), *more]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "LANCE_LOG": "error"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)


def kill_after(worker: subprocess.Popen[str], seconds: float) -> int:
    """SIGKILL so long after its first acknowledgement; how many calls it had acknowledged."""
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    first = worker.stdout.readline()
    time.sleep(seconds)
    worker.kill()
    said = [first, *worker.stdout.read().splitlines(keepends=True)]
    worker.wait()
    return sum(line.endswith("\n") for line in said)


def check_kept(at: Path, name: str, acknowledged: int) -> int:
    """Every acknowledged call is there as a whole, at most one more is, and none in part; how many calls."""
    gallery = Gallery.open(at, SPACE)
    seen: Counter[int] = Counter()
    cursor: str | None = None
    while True:
        page = gallery.page(cursor, 1_000)
        for item in page.items:
            if item.id.startswith(f"{name}-"):
                seen[int(item.metadata["call"])] += 1
        cursor = page.cursor
        if cursor is None:
            break
    assert set(seen.values()) <= {PER_CALL}, "a call is visible in part"
    assert set(range(acknowledged)) <= set(seen), "an acknowledged call is lost"
    assert len(seen) <= acknowledged + 1, "more than the call that was under way"
    assert all(gallery.thumbnail(f"{name}-{call}-0000") for call in list(seen)[:3])
    return len(seen)
