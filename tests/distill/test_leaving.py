from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import atexit, sys
import torch.distributed as distributed

def left():
    sys.stdout.write(f"joined {joined}, still in it {distributed.is_initialized()}")

atexit.register(left)  # runs last
from compressor.distill.processes import process_state
process_state()
process_state()
joined = distributed.is_initialized()
"""


def test_a_process_leaves_its_group_before_it_ends() -> None:
    group = {
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "0",
    }
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, **group, "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "joined True, still in it False"
