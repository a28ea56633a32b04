"""Training jobs of the small world, ready to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compressor.distill.job import TrainingJob
from compressor.distill.signals import StoredSignals
from compressor.distill.store import TeacherStore
from compressor.distill.trainer import train
from compressor.files import sha256_file
from tests.distill.world import World, build_world


def fresh(tmp_path: Path, **options: Any) -> World:
    """The same world again, with a student that has learned nothing."""
    return build_world(tmp_path, **options)


def distilling(world: World, folder: str = "run", **changes: Any) -> TrainingJob:
    """A training on stored signals, six steps unless told otherwise."""
    store = TeacherStore.build(world.folder / "store", world.teacher, world.rows, [0], 8)
    return world.job(folder, StoredSignals(store, world.rows), **changes)


def final(job: TrainingJob) -> str:
    """Hash of the weights at the end."""
    return sha256_file(train(job).last / "model.safetensors")
