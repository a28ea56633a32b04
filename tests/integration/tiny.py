"""A recipe small enough for whole runs in tests: a teacher and a student of a few thousand weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

SIZE = 32

DATA: dict[str, Any] = {"kind": "scenes", "image_size": SIZE, "train": 48, "val": 16, "test": 16}
STUDENT: dict[str, Any] = {
    "embed_dim": 16,
    "image": {
        "kind": "timm",
        "name": "vit_tiny_patch16_224",
        "options": {"img_size": SIZE, "patch_size": 16, "embed_dim": 32, "depth": 1, "num_heads": 2},
        "input": {"size": SIZE},
    },
    "text": {"kind": "transformer", "width": 32, "layers": 1, "heads": 2, "context_length": 24},
    "tokenizer": {"kind": "train", "vocab_size": 300},
}
TEACHER: dict[str, Any] = {
    "embed_dim": 24,
    "image": {
        "kind": "timm",
        "name": "vit_tiny_patch16_224",
        "options": {"img_size": SIZE, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 4},
        "input": {"size": SIZE},
    },
    "text": {"kind": "transformer", "width": 48, "layers": 2, "heads": 4, "context_length": 32},
    "tokenizer": {"kind": "train", "vocab_size": 320},
}
RECIPE: dict[str, Any] = {
    "name": "tiny",
    "data": DATA,
    "student": STUDENT,
    "distill": {
        "epochs": 2,
        "batch_size": 16,
        "losses": [{"kind": "contrastive", "queue": 64}, {"kind": "feature"}],
        "balancer": {"kind": "dsmd"},
        "control": True,
    },
    # One of 16 validation images is 6 points: what int8 loses in retrieval cannot be judged on so few.
    "export": {"precisions": ["fp32", "int8"], "parity": {"samples": 16, "recall_delta": -100, "overlap": 0}},
    "evaluate": {"bootstrap": 50, "examples": 2},
    "benchmark": {"threads": 1, "warmup": 1, "rounds": 2, "repeats": 2, "batch_sizes": [1, 2]},
}


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it; a mapping with another `kind` replaces the old one as a whole."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        if (
            isinstance(old, dict)
            and isinstance(value, dict)
            and old.get("kind") == value.get("kind", old.get("kind"))
        ):
            result[key] = merged(old, value)
        else:
            result[key] = value
    return result


def write_recipe(folder: Path, **changes: Any) -> Path:
    """The tiny recipe with `changes`, as a file; the teacher is the checkpoint `teacher` beside it."""
    recipe = merged(
        RECIPE | {"teacher": {"kind": "checkpoint", "path": "teacher", "batch_size": 16}}, changes
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return path


def write_teacher(folder: Path, described: Mapping[str, Any] = TEACHER, seed: int = 7) -> Path:
    """A teacher's checkpoint with random weights, from a fixed seed."""
    import torch

    from compressor.data import open_pairs
    from compressor.recipe.data import ScenesData
    from compressor.recipe.models import StudentSection
    from compressor.students.build import build_student, build_tokenizer
    from compressor.students.checkpoint import save_checkpoint

    section = StudentSection.model_validate(described)
    rows = open_pairs(ScenesData.model_validate(DATA), "train").rows
    captions = [caption for row in rows for caption in row.captions]
    tokenizer, text = build_tokenizer(section.tokenizer, captions, section.text.context_length)
    torch.manual_seed(seed)
    save_checkpoint(build_student(section, tokenizer, text), folder)
    return folder
