"""What a stage is: its inputs (they make its key), what it needs from others, and its work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compressor.pipeline.context import Context


@dataclass(frozen=True)
class Outcome:
    """What a stage leaves: files that a rerun checks, one line for people, facts for the report."""

    outputs: list[Path]
    summary: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """One link of the chain.

    `inputs` is cheap and imports nothing heavy. `needs` names earlier stages whose outputs are inputs too.
    `run` receives the context and the stage's own key.
    """

    name: str
    needs: tuple[str, ...]
    about: Callable[[Context], str]
    inputs: Callable[[Context], dict[str, Any]]
    run: Callable[[Context, str], Outcome]
