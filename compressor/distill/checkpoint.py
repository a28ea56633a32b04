"""Checkpoints of a training: safetensors and JSON, each folder whole or not there at all."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from compressor.errors import RecipeError
from compressor.files import atomic_folder, read_json, write_json
from compressor.students.weights import read_weights, save_weights

CHECKPOINT_VERSION = 1
STEP_FOLDER = re.compile(r"^step-(\d{8})$")
STATE = "state.json"


@dataclass
class TrainingState:
    """Everything a training needs to go on: tensors by group, and facts that JSON holds.

    A group without tensors is left out of the checkpoint. Groups are `model`, `optimizer`, `losses` and,
    where used, `average` and `alignment`. `best` is {"step", "metric"} or empty.
    """

    step: int
    configuration: str
    tensors: dict[str, dict[str, Tensor]]
    balancer: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)
    average_updates: int = 0
    scaler: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


class Checkpoints:
    """The folder `checkpoints/` of a training: `step-00000100/` and so on; the last `keep` stay."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def steps(self) -> list[int]:
        """Steps with a whole checkpoint, ascending."""
        if not self.folder.is_dir():
            return []
        found = (STEP_FOLDER.match(path.name) for path in self.folder.iterdir() if (path / STATE).is_file())
        return sorted(int(match[1]) for match in found if match)

    def path(self, step: int) -> Path:
        return self.folder / step_name(step)

    def best_steps(self) -> set[int]:
        """Steps that the kept checkpoints remember as the best so far."""
        return {best["step"] for best in map(self.best_at, self.steps()) if best}

    def best_at(self, step: int) -> dict[str, Any]:
        """What the checkpoint of a step remembers as the best so far."""
        best: dict[str, Any] = read_json(self.path(step) / STATE)["best"]
        return best

    @property
    def last(self) -> Path | None:
        """The newest whole checkpoint."""
        steps = self.steps()
        return self.path(steps[-1]) if steps else None

    def save(self, state: TrainingState) -> Path:
        """Write one checkpoint, then delete those beyond `keep`.

        Raises `DiskFullError`; older ones are untouched.
        """
        path = self.path(state.step)
        with atomic_folder(path) as temporary:
            groups = {group: tensors for group, tensors in state.tensors.items() if tensors}
            for group, tensors in groups.items():
                save_weights(tensors, temporary / f"{group}.safetensors")
            facts = {name: value for name, value in vars(state).items() if name != "tensors"}
            write_json(temporary / STATE, {"version": CHECKPOINT_VERSION, "groups": sorted(groups), **facts})
        for step in self.steps()[: -self.keep]:
            shutil.rmtree(self.path(step), ignore_errors=True)
        return path

    def load(self, configuration: str) -> TrainingState | None:
        """The newest checkpoint; None where there is none.

        Raises `RecipeError` when it belongs to another configuration: going on would mix two trainings.
        """
        path = self.last
        if path is None:
            return None
        facts = read_json(path / STATE)
        version, groups = facts.pop("version"), facts.pop("groups")
        if version != CHECKPOINT_VERSION or facts["configuration"] != configuration:
            raise RecipeError(
                f"the checkpoints in {self.folder} belong to another training (configuration "
                f"{facts['configuration']}, this one is {configuration}); use another run folder, or delete "
                "that one"
            )
        return TrainingState(
            tensors={group: read_weights(path / f"{group}.safetensors") for group in groups}, **facts
        )


def step_name(step: int) -> str:
    """Folder name of a step; names sort as steps do."""
    return f"step-{step:08d}"
