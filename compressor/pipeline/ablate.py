"""`compressor ablate`: a recipe and its variants, trained over seeds on the same data and teacher."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from compressor.errors import DataError, DivergedError, MissingResourceError, ModelError, RecipeError
from compressor.pipeline import team
from compressor.pipeline.ablation.comparison import BASE, Comparison, Training
from compressor.pipeline.ablation.measured import measure_teacher, measure_training
from compressor.pipeline.ablation.table import AblationTable
from compressor.pipeline.context import Context
from compressor.pipeline.libraries import TRAINING, require_libraries
from compressor.pipeline.progress import QuietReporter, Reporter
from compressor.pipeline.run import (
    Options,
    failures_named,
    follow_leader,
    interrupts_remembered,
    logged,
    run_stages,
)
from compressor.report.ablation.results import Ablation, Failure
from compressor.report.ablation.write import write_ablation
from compressor.report.numbers import duration

log = logging.getLogger(__name__)

_OF_THE_VARIANT = (DivergedError, RecipeError, ModelError, DataError, MissingResourceError)
"""Errors that one variant can have and another not; the others go on without it."""


def ablate(
    comparison: Comparison, *, until: int | None = None, reporter: Reporter | None = None
) -> Ablation | None:
    """Train and measure what is missing, in `<runs>/<name>-ablation/`, and give the figures of all there is.

    `until` stops after so many trainings of the list. The table, the page and ablation.json are written after
    every training. What was finished before an error, a kill or Ctrl-C is kept, and the next call continues,
    in the middle of a training too. A variant that diverges or cannot be built is noted and the others go on;
    where the recipe as it is fails, all ends. None for a process that only follows another.

    Raises a `CompressorError` for everything a user can cause.
    """
    require_libraries("an ablation", TRAINING)
    if not team.leads():
        _follow_all(AblationTable(comparison, QuietReporter()), until)
        return None
    shown = reporter or QuietReporter()
    try:
        table = AblationTable(comparison, shown)
        table.require_data()
        with table.folder.locked():
            return _work(table, shown, until)
    finally:
        shown.close()


def _work(table: AblationTable, reporter: Reporter, until: int | None) -> Ablation:
    """Everything that is missing, in order."""
    trainings = table.trainings
    for training in trainings:
        table.look(training)
    for variant in table.variants:
        if variant.refusal:
            reporter.note(f"not trained: {variant.name}: {variant.refusal}")
    done = len(trainings) - len(table.waiting)
    reporter.note(f"{len(trainings)} trainings, {done} done; {_left(table)}")
    missing = table.measure.missing() if table.waiting else []
    if missing:
        raise MissingResourceError("\n".join(missing))
    for context in table.teachers():
        _prepare(table, context)
    for number, training in enumerate(trainings[:until], start=1):
        if training in table.waiting:
            reporter.stage(number, len(trainings), training.label, _left(table))
            _try(table, training, reporter)
            _write(table)
        else:
            team.send_home()
            reporter.skipped(
                number, len(trainings), training.label, f"done before, {_value(table, training)}"
            )
    return _write(table)


def _prepare(table: AblationTable, context: Context) -> None:
    """Fine-tune a teacher, measure it, or both; only what is missing."""
    with _at_work(context) as interrupted:
        run_stages(context, Options(until="teacher"), interrupted)
        if table.is_measured(context) and not table.look_at_teacher(context):
            measure_teacher(context, table.split)
            table.look_at_teacher(context)
        if interrupted.is_set():
            raise KeyboardInterrupt


def _try(table: AblationTable, training: Training, reporter: Reporter) -> None:
    """Train and measure, or note why it cannot be."""
    started = time.monotonic()
    try:
        _train(table, training)
    except _OF_THE_VARIANT as error:
        if training.variant.name == BASE or team.size() > 1:
            raise
        log.error("%s: %s", training.label, error)
        failure = Failure(seed=training.seed, reason=str(error), exit_code=error.exit_code)
        table.failures[training.variant.name].append(failure)
        reporter.note(f"{training.label} failed: {error}")
    else:
        summary = f"{_value(table, training)}; {_left(table)}"
        reporter.finished(training.label, time.monotonic() - started, summary)


def _train(table: AblationTable, training: Training) -> None:
    context = table.context(training)
    with _at_work(context) as interrupted:
        run_stages(context, Options(until="distill"), interrupted)
        if table.look(training) != "done":
            measure_training(context, table.split)
        if interrupted.is_set():
            raise KeyboardInterrupt
    state = table.look(training)
    assert state == "done"


@contextmanager
def _at_work(context: Context) -> Iterator[threading.Event]:
    """What surrounds every run: its lock, its log, errors in one sentence, a remembered Ctrl-C."""
    with (
        failures_named(context, "ablate"),
        context.folder.locked(),
        logged(context.folder),
        interrupts_remembered() as interrupted,
    ):
        yield interrupted


def _left(table: AblationTable) -> str:
    waiting, seconds = len(table.waiting), table.seconds_left()
    if not waiting:
        return "none left"
    about = "the first will show how long they take" if seconds is None else f"about {duration(seconds)}"
    return f"{waiting} left, {about}"


def _value(table: AblationTable, training: Training) -> str:
    scores = table.found[training.variant.name][training.seed].scores
    return f"{table.measure.compared.label} {scores.value:.1f}"


def _write(table: AblationTable) -> Ablation:
    """The figures of all that is finished, on the disk too."""
    ablation = table.figures()
    write_ablation(table.folder.root, ablation)
    return ablation


def _follow_all(table: AblationTable, until: int | None) -> None:
    """One of several processes that does not lead: its share of every training, in the leader's order."""
    table.require_data()
    for context in table.teachers():
        follow_leader(context)
    for training in table.trainings[:until]:
        follow_leader(table.context(training))
