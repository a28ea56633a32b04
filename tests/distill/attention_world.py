"""Student and teacher with transformer towers of different widths and heads, reading the same tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from compressor.data.decoded import DecodedImages
from compressor.data.loader import TrainingSet
from compressor.distill.job import TrainingJob
from compressor.distill.signals import LiveSignals
from compressor.preprocess.tokenizers import train_bpe
from compressor.recipe.losses import AMADLoss
from compressor.recipe.models import StudentSection
from compressor.recipe.training import Augmentation
from compressor.students.build import build_student
from compressor.students.encoder import Model
from tests.distill.world import Pictures, World

TEACHER = {"patch_size": 8, "embed_dim": 16, "depth": 3, "num_heads": 4}
STUDENT = {"patch_size": 8, "embed_dim": 8, "depth": 2, "num_heads": 2}


def model(pairs: Pictures, seed: int, vit: dict[str, Any], text: dict[str, Any], context: int) -> Model:
    """A ViT over 32 pixels beside a text transformer."""
    captions = [caption for row in pairs.rows for caption in row.captions]
    section = StudentSection.model_validate(
        {
            "embed_dim": 8,
            "image": {
                "kind": "timm",
                "name": "vit_tiny_patch16_224",
                "options": {"img_size": 32, **vit},
                "input": {"size": 32},
            },
            "text": {"kind": "transformer", "context_length": context, **text},
            "tokenizer": {"kind": "train", "vocab_size": 300},
        }
    )
    torch.manual_seed(seed)
    return build_student(section, *train_bpe(captions, 300, context))


def attention_world(
    folder: Path, vit: dict[str, Any] | None = None, teacher_context: int = 10, teacher_size: int = 32
) -> World:
    """`vit` changes the student's image tower."""
    pairs = Pictures()
    teacher = model(
        pairs,
        2,
        {**TEACHER, "img_size": teacher_size},
        {"width": 16, "layers": 2, "heads": 4},
        teacher_context,
    )
    teacher.encoder.requires_grad_(False).eval()  # type: ignore[attr-defined]
    student = model(pairs, 1, {**STUDENT, **(vit or {})}, {"width": 8, "layers": 1, "heads": 2}, 10)
    decoded = DecodedImages.build(pairs, 32, folder / f"decoded-{pairs.fingerprint}")
    rows = TrainingSet(pairs, decoded, student.preprocessor, Augmentation(), 0, [teacher.preprocessor])
    return World(folder, pairs, student, teacher, rows)


def amad_job(world: World, folder: str, config: AMADLoss, **changes: Any) -> TrainingJob:
    """A training with `amad` on a live teacher, with the losses in `changes` beside it."""
    losses = [*changes.pop("losses", []), config]
    signals = LiveSignals(world.teacher, world.rows, batch_size=5, amad=config)
    return world.job(folder, signals, losses=losses, **changes)
