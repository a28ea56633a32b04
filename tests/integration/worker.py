"""A run in a process that a test kills."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from compressor.cli import main


def compressor(home: Path, *arguments: str) -> None:
    """The command line, started in `home`, with what it says in `home/out.txt` and `home/err.txt`."""
    import os

    torch.set_num_threads(1)
    os.chdir(home)
    with Path("out.txt").open("a") as out, Path("err.txt").open("a") as err:
        sys.stdout, sys.stderr = out, err
        sys.argv = ["compressor", *arguments]
        main()
