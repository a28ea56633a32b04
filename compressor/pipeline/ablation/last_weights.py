"""The student as the last step of its training left it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Protocol, TypeVar

from compressor.errors import MissingResourceError
from compressor.pipeline.context import Context

Found = TypeVar("Found")
"""A model with its preprocessing."""


class Keeper(Protocol[Found]):
    """Reads and writes models of one sort."""

    def load(self, folder: Path) -> Found:
        """A student from its checkpoint folder."""
        ...

    def fill(self, model: Found, weights: Path, name: str) -> None:
        """Put the weights of a training checkpoint into the model; `name` is its own in errors."""
        ...

    def save(self, model: Found, folder: Path) -> None:
        """Write a checkpoint folder."""
        ...


def last_model(context: Context, keeper: Keeper[Found]) -> Found:
    """The last weights of the context's finished training.

    The first call turns the training's checkpoints into a model's and drops them: a table of forty trainings
    would else hold forty optimisers. Raises `MissingResourceError` where somebody has cleared them before.
    """
    from compressor.distill.checkpoint import Checkpoints

    record = context.folder.record("distill")
    assert record is not None
    training = context.folder.training_of(record["key"]) / "student"
    kept, newest = training / "last", Checkpoints(training / "checkpoints").last
    if newest is not None:  # and so what is kept, if anything, is of a training before this one
        model = keeper.load(context.folder.checkpoint)
        averaged = newest / "average.safetensors"
        weights = averaged if averaged.is_file() else newest / "model.safetensors"
        keeper.fill(model, weights, f"the student of {context.folder.root}")
        keeper.save(model, kept)
        for name in ("checkpoints", "best"):
            _drop(training / name)
    elif not kept.is_dir():
        raise MissingResourceError(
            f"the last weights of {context.folder.root} are gone; delete that folder to train it again"
        )
    return keeper.load(kept)


def _drop(folder: Path) -> None:
    """Delete a folder so that it is whole or not there, also where the deletion is interrupted."""
    if folder.is_dir():
        gone = folder.with_name(f".{folder.name}")
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
