"""What a person calls a checkpoint. Torch-free."""

from __future__ import annotations

from pathlib import Path

_INSIDE_A_RUN = "checkpoint"


def checkpoint_name(path: Path) -> str:
    """The folder's name; the name of the run for the folder `checkpoint` of a run."""
    name = path.absolute().parent.name if path.name == _INSIDE_A_RUN else path.name
    return name or path.name
