"""A training that a test kills: run in a process of its own."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from compressor.distill.signals import StoredSignals
from compressor.distill.store import TeacherStore
from compressor.distill.trainer import train
from compressor.distill.validation import Validation
from compressor.recipe.losses import DSMDRatesBalance
from compressor.recipe.training import Augmentation
from tests.distill.world import build_world

STEPS = 30


def run(folder: Path, pause: float) -> None:
    """Store, then training with all that has a state: dropout, queue, projection, balancer, average, best."""
    torch.set_num_threads(1)
    augmentation = Augmentation(horizontal_flip=0.5, views=3)
    world = build_world(folder, augmentation=augmentation, student={"dropout": 0.2})
    store = TeacherStore.build(folder / "store", world.teacher, world.rows, [0, 1, 2], 4, shard_rows=16)
    job = world.job(
        "run",
        StoredSignals(store, world.rows),
        steps=STEPS,
        ema=0.9,
        workers=1,
        checkpoint_every=2,
        evaluate_every=5,
        augmentation=augmentation,
        balancer=DSMDRatesBalance(kind="dsmd_rates"),
        validate=Validation(world.pairs, world.rows.decoded, world.student.preprocessor),
        progress=lambda event: time.sleep(pause),
    )
    train(job)
