"""What is known of the trainings of an ablation, and of its teacher: measured once, and then read.

Measured are the last weights of a training and not the best: the best are chosen on `val`, and what is
compared there would be chosen by the figure that compares it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from compressor.files import hash_json
from compressor.pipeline.ablation.last_weights import last_model
from compressor.pipeline.ablation.measure import Scores, measure_of
from compressor.pipeline.context import Context
from compressor.pipeline.keys import versions
from compressor.recipe.data import Split

CODE_VERSION = 1
"""Raised when what is measured changes."""

_MADE_BY = {"training": "distill", "teacher": "teacher"}
"""The stage that leaves what is measured."""


@dataclass(frozen=True)
class Measured:
    """What is known of a finished training."""

    scores: Scores
    seconds: float
    """Of training and measuring."""
    steps: int
    best_validation: float | None
    """The best validation while training."""


def measured_training(context: Context, split: Split) -> Measured | None:
    """What an earlier measurement of this very training left; None where there is none. Torch-free."""
    scores = _read(context, "training", split)
    if scores is None:
        return None
    record, training = context.folder.record(_stage(split)), context.folder.record("distill")
    assert record is not None
    assert training is not None
    facts = training["facts"]["student"]
    # A resumed training remembers the seconds of its steps, the record those since it was resumed.
    trained = max(float(training["seconds"]), float(facts["seconds"]))
    return Measured(
        scores=scores,
        seconds=trained + record["seconds"],
        steps=facts["steps"],
        best_validation=facts[measure_of(context.recipe).best],
    )


def measured_teacher(context: Context, split: Split) -> Scores | None:
    """The same of the context's teacher. Torch-free."""
    return _read(context, "teacher", split)


def measure_training(context: Context, split: Split) -> None:
    """Measure the last weights of the context's finished training on a split."""
    started = time.monotonic()
    model = last_model(context, measure_of(context.recipe))
    _measure(context, "training", split, model, started)


def measure_teacher(context: Context, split: Split) -> None:
    """Measure the context's teacher, which has been made ready, on a split."""
    started = time.monotonic()
    model = measure_of(context.recipe).teacher(context)
    _measure(context, "teacher", split, model, started)


def _measure(context: Context, what: str, split: Split, model: Any, started: float) -> None:
    key = _key(context, what, split)
    assert key is not None  # it has just been made
    files, facts = measure_of(context.recipe).take(context, split, model)
    context.folder.finish(_stage(split), key, files, time.monotonic() - started, facts)


def _read(context: Context, what: str, split: Split) -> Scores | None:
    key = _key(context, what, split)
    if key is None or not context.folder.finished(_stage(split), key):
        return None
    record = context.folder.record(_stage(split))
    assert record is not None
    return measure_of(context.recipe).read(context, split, record["facts"])


def _stage(split: Split) -> str:
    return f"measure-{split}"


def _key(context: Context, what: str, split: Split) -> str | None:
    made = context.folder.record(_MADE_BY[what])
    if made is None:
        return None
    inputs: dict[str, Any] = {
        "measure": CODE_VERSION,
        "versions": versions("distill"),
        what: [made["key"], made["outputs"]],
        "split": split,
        "data": context.pairs(split).fingerprint,
        "max_bad_fraction": context.recipe.data.max_bad_fraction,
    }
    return hash_json(inputs | measure_of(context.recipe).inputs(context.recipe))
