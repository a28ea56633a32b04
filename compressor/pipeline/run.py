"""The chain of stages over one run folder: skip what is done, run what is not, record both."""

from __future__ import annotations

import logging
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from compressor.data import missing_data
from compressor.errors import CompressorError, DataError, MissingResourceError, RecipeError
from compressor.files import disk_full_named, system_errors_named
from compressor.pipeline import team
from compressor.pipeline.context import Context
from compressor.pipeline.folder import RunFolder
from compressor.pipeline.generation.stages import GENERATION_STAGES
from compressor.pipeline.keys import stage_key
from compressor.pipeline.libraries import ALL, TRAINING, require_libraries
from compressor.pipeline.progress import QuietReporter, Reporter
from compressor.pipeline.runtimes import require_runtimes
from compressor.pipeline.stages import STAGES, Stage
from compressor.recipe import Recipe
from compressor.recipe.data import Split
from compressor.recipe.rehearse import rehearsal
from compressor.recipe.teacher import TextTeacher
from compressor.report.results import Results

log = logging.getLogger(__name__)

MINIMUM_CAPTIONED = 2
"""Captioned pictures below which nothing can be ranked."""


@dataclass(frozen=True)
class Options:
    """How much of the chain to run."""

    start: str | None = None
    """Run this stage and all after it anew, whatever is recorded."""
    until: str | None = None
    """Stop after this stage."""
    force: bool = False
    """Run every stage anew."""
    rehearse: bool = False


@dataclass(frozen=True)
class StageState:
    """One line of a plan."""

    stage: Stage
    key: str | None
    done: bool
    fresh: bool = False
    """Asked to run anew, so that nothing of an earlier training with this key is taken up."""


def stage_names() -> list[str]:
    """The chain, in order."""
    return [stage.name for stage in STAGES]


def open_context(recipe: Recipe, runs: Path, reporter: Reporter, rehearse: bool = False) -> Context:
    """A context over `runs/<name>`; a rehearsal has a folder of its own."""
    effective = rehearsal(recipe) if rehearse else recipe
    return Context(effective, RunFolder(runs / effective.name), reporter, rehearse)


def chain(recipe: Recipe) -> tuple[Stage, ...]:
    """The stages of a recipe: those of a student that embeds, or of one that writes."""
    return STAGES if recipe.head is None else GENERATION_STAGES


def walk(context: Context, options: Options = Options()) -> Iterator[StageState]:
    """Stages with their keys as far as they can be known; a stage after one that must run has no key yet."""
    upstream: dict[str, Any] = {}
    fresh = options.force
    for stage in chain(context.recipe):
        fresh = fresh or stage.name == options.start
        needed = {name: upstream[name] for name in stage.needs}
        known = not any(value is None for value in needed.values())
        key = stage_key(stage.name, stage.inputs(context), needed) if known else None
        done = key is not None and not fresh and context.folder.finished(stage.name, key)
        yield StageState(stage, key, done, fresh)
        record = context.folder.record(stage.name)
        upstream[stage.name] = record["outputs"] if record and record.get("key") == key else None


def run(
    recipe: Recipe,
    runs: Path | str = "runs",
    *,
    options: Options = Options(),
    reporter: Reporter | None = None,
) -> Results | None:
    """Run a recipe over `runs/<name>/` and give its results (None when `until` stops before the report).

    Raises a `CompressorError` for everything a user can cause. What was finished before an error, a kill
    or Ctrl-C is kept, and the next call continues there.
    """
    _check_stages(options)
    require_libraries("a run", ALL if _exports(options) else TRAINING)
    if not team.leads():
        follow_leader(open_context(recipe, Path(runs), QuietReporter(), options.rehearse))
        return None
    context = open_context(recipe, Path(runs), reporter or QuietReporter(), options.rehearse)
    try:
        with (
            failures_named(context, "run"),
            context.folder.locked(),
            logged(context.folder),
            interrupts_remembered() as interrupted,
        ):
            return run_stages(context, options, interrupted)
    finally:
        context.reporter.close()


def _check_stages(options: Options) -> None:
    names = stage_names()
    for name in (options.start, options.until):
        if name is not None and name not in names:
            raise RecipeError(f"there is no stage '{name}'; the stages are {', '.join(names)}")
    if options.start and options.until and names.index(options.start) > names.index(options.until):
        raise RecipeError(
            f"{options.start} comes after {options.until}, so a run from the one until the other does nothing"
        )


def _exports(options: Options) -> bool:
    return options.until is None or stage_names().index(options.until) >= stage_names().index("export")


def follow_leader(context: Context) -> None:
    """Join the leader in the stages that several processes work on; the outcome is the leader's to record."""
    stages = {stage.name: stage for stage in chain(context.recipe)}
    for name, key in team.calls():
        stages[name].run(context, key)


@contextmanager
def interrupts_remembered() -> Iterator[threading.Event]:
    """Note every Ctrl-C inside the block, besides what it does anyway.

    A library that catches everything, and Python itself in a destructor, swallow the KeyboardInterrupt that
    falls into them; whoever holds the event can raise it again where nothing is lost.
    """
    pressed = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield pressed
        return

    def remember(number: int, frame: FrameType | None) -> None:
        pressed.set()
        before(number, frame)

    signal.signal(signal.SIGINT, remember)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def run_stages(context: Context, options: Options, interrupted: threading.Event) -> Results | None:
    """Run the stages that are not done; the results, or None where `options.until` stops before the last.

    Raises `KeyboardInterrupt` after a stage in which a library swallowed Ctrl-C.
    """
    _require_resources(context)
    if _exports(options):
        require_runtimes(context.recipe)
    _require_rows(context, options)
    total = len(chain(context.recipe))
    for number, state in enumerate(walk(context, options), start=1):
        stage, key = state.stage, state.key
        if number == len(team.TOGETHER) + 1:
            team.send_home()
        assert key is not None  # every stage before this one has been recorded
        if state.done:
            reason = "done before with the same inputs"
            context.reporter.skipped(number, total, stage.name, reason)
            log.info("%s: skipped, %s", stage.name, reason)
        else:
            if state.fresh:
                shutil.rmtree(context.folder.training_of(key), ignore_errors=True)
            if stage.name in team.TOGETHER:
                team.call_to(stage.name, key)
            _run_stage(context, stage, key, number, total)
        if interrupted.is_set():
            raise KeyboardInterrupt
        if stage.name == options.until:
            if stage.name in team.TOGETHER:
                team.send_home()
            return None
    return Results.model_validate_json(context.folder.results.read_text(encoding="utf-8"))


def _require_rows(context: Context, options: Options) -> None:
    """Refuse splits that a later stage could not work on, before any work begins.

    Raises `DataError` for training rows from which no loss can learn, and for validation and test pictures
    without a caption.
    """
    recipe = context.recipe
    captioned = any(row.captions for row in context.pairs("train").rows)
    pictures_alone = not isinstance(recipe.teacher, TextTeacher)  # it says nothing of a bare picture
    if not captioned and not any(loss.image_only_ok and pictures_alone for loss in recipe.distill.losses):
        raise DataError("the training pictures have no captions, and every loss of the recipe needs them")
    wanted: list[Split] = [context.validation_split]
    if options.until is None or stage_names().index(options.until) > stage_names().index("export"):
        wanted.append(recipe.evaluate.split)
    for split in dict.fromkeys(wanted):
        found = sum(1 for row in context.pairs(split).rows if row.captions)
        if found < MINIMUM_CAPTIONED:
            raise DataError(
                f"the {split} split has {found} pictures with captions; at least {MINIMUM_CAPTIONED} are "
                "needed to rank them"
            )


def _require_resources(context: Context) -> None:
    """Name everything that is missing at once, data and weights, before any work begins."""
    missing = missing_data(context.recipe.data)
    if missing and context.recipe.teacher is not None:
        from compressor.teachers.load import missing_resources

        missing = [*missing, *missing_resources(context.recipe.teacher)]
    if missing:
        raise MissingResourceError("\n".join(missing))


def _run_stage(context: Context, stage: Stage, key: str, number: int, total: int) -> None:
    context.reporter.stage(number, total, stage.name, stage.about(context))
    log.info("%s: started, key %s", stage.name, key)
    context.folder.forget(stage.name)
    started = time.monotonic()
    try:
        with failures_named(context, stage.name):
            outcome = stage.run(context, key)
            seconds = time.monotonic() - started
            context.folder.finish(stage.name, key, outcome.outputs, seconds, outcome.facts)
    except CompressorError as error:
        log.error("%s: %s", stage.name, error, exc_info=error.__cause__)
        raise
    except Exception:
        log.exception("%s failed", stage.name)
        raise
    context.reporter.finished(stage.name, seconds, outcome.summary)
    log.info("%s: finished in %.1f s, %s", stage.name, seconds, outcome.summary)


@contextmanager
def failures_named(context: Context, what: str) -> Iterator[None]:
    """Errors of the operating system as one sentence; a full disk with the space that is left."""
    with system_errors_named(what), disk_full_named(context.folder.root):
        yield


class _RunLog(logging.FileHandler):
    """`run.log`. On a full disk its lines are lost; the run itself says what is wrong."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name is the library's)
        """Keep silent, where the library would print a traceback for every line."""


@contextmanager
def logged(folder: RunFolder) -> Iterator[None]:
    """Everything the project logs while a run works goes to `run.log` as well."""
    handler = _RunLog(folder.log, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("compressor")
    logger.addHandler(handler)
    previous = logger.level
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(previous)
        handler.close()
