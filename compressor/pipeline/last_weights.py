"""Retrieval of a training's last weights, measured in PyTorch and kept as ranks.

The last weights and not the best: the best are chosen on `val`, and what is compared there would be chosen by
the figure that compares it.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.errors import MissingResourceError
from compressor.files import atomic_write_bytes, hash_json
from compressor.pipeline.context import Context
from compressor.pipeline.keys import versions
from compressor.recipe.data import Split

if TYPE_CHECKING:
    from compressor.evaluate.retrieval import Ranks
    from compressor.students.encoder import Model

CODE_VERSION = 1
"""Raised when what is measured changes."""

_RANKS = ("queries", "image_ranks", "image_map_r", "text_ranks", "text_to_image")


@dataclass(frozen=True)
class Measured:
    """What is known of a finished training."""

    ranks: Ranks
    bad_images: int
    seconds: float
    """Of training and measuring."""
    steps: int
    best_rsum: float | None
    """The highest validation while training."""


def measured(context: Context, split: Split) -> Measured | None:
    """What an earlier measurement of this very training left; None where there is none. Torch-free."""
    folder, stage, key = context.folder, f"measure-{split}", _key(context, split)
    if key is None or not folder.finished(stage, key):
        return None
    record, training = folder.record(stage), folder.record("distill")
    assert record is not None
    assert training is not None
    facts = training["facts"]["student"]
    # A resumed training remembers the seconds of its steps, the record those since it was resumed.
    trained = max(float(training["seconds"]), float(facts["seconds"]))
    return Measured(
        ranks=_read_ranks(_file(context, split)),
        bad_images=record["facts"]["bad_images"],
        seconds=trained + record["seconds"],
        steps=facts["steps"],
        best_rsum=facts["best_rsum"],
    )


def measure(context: Context, split: Split) -> None:
    """Rank the pictures and captions of a split with the last weights of the context's finished training.

    Pictures come from the decoded cache, as in validation, through the student's own geometry.
    """
    from torch import nn

    from compressor.distill.processes import process_state
    from compressor.distill.validation import Validation
    from compressor.evaluate.retrieval import retrieval

    started = time.monotonic()
    key = _key(context, split)
    assert key is not None  # it has just been trained
    model = last_model(context)
    assert isinstance(model.encoder, nn.Module)
    model.encoder.to(process_state().device)
    pairs, decoded = context.pairs(split), context.decoded(split)
    image, text = Validation(pairs, decoded, model.preprocessor).embeddings(model.encoder)
    owners = np.repeat(np.arange(len(decoded.kept)), [len(pairs.rows[row].captions) for row in decoded.kept])
    file = _file(context, split)
    _write_ranks(file, retrieval(image, text, owners))
    facts = {"bad_images": len(pairs.rows) - len(decoded.kept)}
    context.folder.finish(f"measure-{split}", key, [file], time.monotonic() - started, facts)


def last_model(context: Context) -> Model:
    """The student as its last step left it.

    The first call turns the training's checkpoints into a model's and drops them: a table of forty trainings
    would else hold forty optimisers. Raises `MissingResourceError` where somebody has cleared them before.
    """
    from torch import nn

    from compressor.distill.checkpoint import Checkpoints
    from compressor.students.checkpoint import save_checkpoint
    from compressor.students.weights import load_weights, read_weights
    from compressor.teachers.checkpoint import load_any_checkpoint

    record = context.folder.record("distill")
    assert record is not None
    training = context.folder.training_of(record["key"]) / "student"
    kept = training / "last"
    if kept.is_dir():
        return load_any_checkpoint(kept)
    newest = Checkpoints(training / "checkpoints").last
    if newest is None:
        raise MissingResourceError(
            f"the last weights of {context.folder.root} are gone; delete that folder to train it again"
        )
    model = load_any_checkpoint(context.folder.checkpoint)
    assert isinstance(model.encoder, nn.Module)
    averaged = newest / "average.safetensors"
    weights = averaged if averaged.is_file() else newest / "model.safetensors"
    load_weights(model.encoder, read_weights(weights), weights, f"the student of {context.folder.root}")
    save_checkpoint(model, kept)
    for name in ("checkpoints", "best"):
        shutil.rmtree(training / name, ignore_errors=True)
    return load_any_checkpoint(kept)


def forget_last(context: Context) -> None:
    """Before a training: what an earlier one of this folder left is not its own."""
    for kept in context.folder.training.glob("*/student/last"):
        shutil.rmtree(kept, ignore_errors=True)


def _key(context: Context, split: Split) -> str | None:
    training = context.folder.record("distill")
    if training is None:
        return None
    inputs: dict[str, Any] = {
        "measure": CODE_VERSION,
        "versions": versions("distill"),
        "training": [training["key"], training["outputs"]],
        "split": split,
        "data": context.pairs(split).fingerprint,
        "max_bad_fraction": context.recipe.data.max_bad_fraction,
    }
    return hash_json(inputs)


def _file(context: Context, split: Split) -> Path:
    return context.folder.root / f"ranks-{split}.safetensors"


def _write_ranks(path: Path, ranks: Ranks) -> None:
    from safetensors.numpy import save

    tensors = {name: np.ascontiguousarray(getattr(ranks, name)) for name in _RANKS}
    atomic_write_bytes(path, save(tensors | {"images": np.asarray([ranks.images], np.int64)}))


def _read_ranks(path: Path) -> Ranks:
    from safetensors.numpy import load_file

    from compressor.evaluate.retrieval import Ranks

    tensors = load_file(path)
    return Ranks(images=int(tensors.pop("images")[0]), **tensors)
