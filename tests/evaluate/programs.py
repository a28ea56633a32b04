"""Programs that stand in for Java: each does one thing that a real one may do to us."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

VERSION_17 = """
if sys.argv[1:] == ["-version"]:
    print('openjdk version "17.0.15" 2025-04-15', file=sys.stderr)
    sys.exit()
"""


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> str:
    """Make `body` (Python) the only `java` on PATH; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "java"
    program.write_text(f"#!{sys.executable} -S\nimport json, os, sys, time\n{body}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return str(program)
