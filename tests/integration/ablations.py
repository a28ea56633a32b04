"""What tests of ablations share: who is told of the work, recipes, and the runs of single trainings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from compressor.pipeline.folder import RunFolder
from compressor.pipeline.progress import QuietReporter
from tests.integration.tiny import SIZE, merged, write_recipe

_SIZES = {"layers": 1, "width": 16, "heads": 2}
WRITING: dict[str, Any] = {
    "name": "tiny",
    "data": {"kind": "scenes", "image_size": SIZE, "train": 32, "val": 8, "test": 6},
    "teacher": {
        "kind": "blip",
        "head": "caption",
        "image": _SIZES | {"heads": 4, "patch": 8, "size": SIZE},
        "text": _SIZES | {"heads": 4, "context_length": 40},
        "tokenizer": {"kind": "train", "vocab_size": 300},
        "context_length": 40,
        "batch_size": 4,
        "fine_tune": {"steps": 3, "batch_size": 8, "trackers": []},
    },
    "student": {
        "kind": "blip",
        "image": _SIZES | {"patch": 16, "size": SIZE},
        "text": _SIZES | {"context_length": 40},
    },
    "distill": {
        "epochs": 6,
        "batch_size": 8,
        "optimizer": {"lr": 5e-3},
        "trackers": [],
        "signals": "live",
        "losses": [{"kind": "task"}, {"kind": "logits"}, {"kind": "amad", "alpha": "match_initial_scale"}],
        "control": True,
    },
    "evaluate": {"bootstrap": 50, "generation": {"beams": 2, "max_length": 8, "metrics": ["bleu"]}},
}
ASKING: dict[str, Any] = {
    "data": {"kind": "scenes_questions", "image_size": SIZE, "train": 32, "val": 8, "test": 6},
    "teacher": {"head": "vqa"},
}


class Told(QuietReporter):
    """Remembers what was said; `at` is called at a step of a training."""

    def __init__(self, at: Callable[[int], Any] | None = None) -> None:
        self.started: list[str] = []
        self.skips: list[str] = []
        self.notes: list[str] = []
        self.ends: list[str] = []
        self.labels: list[str] = []
        self.at = at

    def stage(self, number: int, total: int, name: str, about: str) -> None:
        self.started.append(name)

    def skipped(self, number: int, total: int, name: str, reason: str) -> None:
        self.skips.append(name)

    def note(self, message: str) -> None:
        self.notes.append(message)

    def finished(self, name: str, seconds: float, summary: str) -> None:
        self.ends.append(summary)

    def work(self, label: str, done: int, total: int, detail: str = "") -> None:
        if done == total:
            self.labels.append(label)
        if label == "distilling" and self.at is not None:
            self.at(done)


def recipe_in(home: Path, teacher: Path, fine_tune: Any = None, **sections: Any) -> Path:
    """The tiny recipe of a student that embeds."""
    return write_recipe(home, teacher={"path": str(teacher), "fine_tune": fine_tune}, **sections)


def writing_in(home: Path, **changes: Any) -> Path:
    """The tiny recipe of a student that writes."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / "recipe.yaml"
    path.write_text(yaml.safe_dump(merged(WRITING, changes), sort_keys=False), encoding="utf-8")
    return path


def run_of(runs: Path, variant: str, seed: int) -> RunFolder:
    """The run of one training."""
    return RunFolder(runs / "tiny-ablation" / variant.replace(" ", "-") / f"seed-{seed}")
