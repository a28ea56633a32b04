"""Recipes of tiny BLIPs that write, small enough for whole runs in tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.integration.tiny import merged

SIZES = {"layers": 1, "width": 16, "heads": 2}
RECIPE: dict[str, Any] = {
    "name": "tiny",
    "data": {"kind": "scenes", "image_size": 32, "train": 32, "val": 8, "test": 8},
    "teacher": {
        "kind": "blip",
        "head": "caption",
        "image": SIZES | {"heads": 4, "patch": 8, "size": 32},
        "text": SIZES | {"heads": 4, "context_length": 40},
        "tokenizer": {"kind": "train", "vocab_size": 300},
        "context_length": 40,
        "batch_size": 4,
        "fine_tune": {"steps": 3, "batch_size": 8, "trackers": []},
    },
    "student": {
        "kind": "blip",
        "image": SIZES | {"patch": 16, "size": 32},
        "text": SIZES | {"context_length": 40},
    },
    "distill": {
        "epochs": 2,
        "batch_size": 8,
        "trackers": [],
        "signals": "live",
        "losses": [{"kind": "task"}, {"kind": "logits"}, {"kind": "amad", "alpha": "match_initial_scale"}],
        "control": True,
    },
    "evaluate": {"bootstrap": 20, "examples": 2, "generation": {"beams": 2, "metrics": ["bleu", "cider"]}},
    "benchmark": {"warmup": 1, "rounds": 2, "repeats": 1},
    "goals": ["latency.p50_ratio <= 100", "size.parameter_ratio <= 2"],
}
VQA: dict[str, Any] = {
    "data": {"kind": "scenes_questions", "per_scene": 2},
    "teacher": {"head": "vqa"},
    "distill": {"micro_batch_size": 4, "control": False},
    "evaluate": {"generation": None},
}


def write(folder: Path, **changes: Any) -> Path:
    """A recipe that captions, with `changes` laid over it, as `folder/recipe.yaml`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.yaml"
    recipe = merged(RECIPE, changes)
    recipe["data"] = {**RECIPE["data"], **changes.get("data", {})}
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return path
