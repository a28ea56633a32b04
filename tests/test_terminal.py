"""How a program of several processes ends."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import atexit, ctypes, sys
import typer
from compressor.errors import GoalsMissedError
from compressor.terminal import run_program

library = ctypes.CDLL(None)
library.__cxa_atexit(library.abort, None, None)  # a destructor that aborts
atexit.register(lambda: print("left in order"))
app = typer.Typer()

@app.command()
def end(code: int) -> None:
    print("done")
    if code == 3:
        raise GoalsMissedError("a goal was missed")

run_program(app)
"""


@pytest.mark.parametrize("code", [0, 3])
def test_one_of_several_processes_ends_without_the_destructors_of_libraries(code: int) -> None:
    def run(world: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", SCRIPT, str(code)],
            env={**os.environ, "WORLD_SIZE": world},
            capture_output=True,
            text=True,
            check=False,
        )

    assert run("1").returncode < 0, "the destructor does abort"
    ended = run("2")
    assert ended.returncode == code, ended.stderr
    assert ended.stdout.splitlines() == ["done", "left in order"]
