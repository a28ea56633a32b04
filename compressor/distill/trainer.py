"""The training loop: one student, with or without a teacher, on any number of processes."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from compressor.data.loader import Batch, BatchStream
from compressor.distill.curves import Curves
from compressor.distill.engine import start_accelerator, total_norm, tracking
from compressor.distill.job import GenerationJob, Job, TrainingJob, TrainingResult
from compressor.distill.objective import read_values, refuse_divergence
from compressor.distill.optim import set_learning_rate
from compressor.distill.processes import barrier
from compressor.distill.progress import ProgressEvent
from compressor.distill.schedule import learning_rate_factor
from compressor.distill.session import Session

__all__ = ["GenerationJob", "TrainingJob", "TrainingResult", "train"]

log = logging.getLogger(__name__)

TRACK_EVERY = 10
"""Steps between values sent to trackers, which flush at every call; metrics.jsonl has every step."""


def train(job: Job) -> TrainingResult:
    """Train, or go on from the newest checkpoint in `job.folder`; a finished training returns at once.

    Killed at any moment and called again with the same job, it ends with the weights of an undisturbed run
    (on the CPU bit by bit). After Ctrl-C it writes a checkpoint at the end of the step and raises
    `KeyboardInterrupt`.

    Raises:
        DivergedError: a loss or the gradient is not finite; nothing of that step is kept.
        RecipeError: the folder holds another training, or batch size and processes do not fit.
        ModelError: BatchNorm in training mode with several processes or micro-batches.
        DataError: fewer images than one batch.
        DiskFullError: no space for a checkpoint; the one before is whole.
    """
    accelerator = start_accelerator(job.section, job.folder)
    session = Session.start(job, accelerator)
    session.objective.prepare()
    barrier()
    try:
        if session.step < session.total:
            _run(session)
    finally:
        session.objective.close()
    barrier()
    session.load_best()
    accelerator.free_memory()
    last = session.checkpoints.last
    assert last is not None  # the last step always writes one
    return TrainingResult(
        best=session.best_folder,
        last=last,
        curves=job.folder / "metrics.jsonl",
        steps=session.step,
        seconds=session.seconds,
        images_per_second=session.step * job.section.batch_size / max(session.seconds, 1e-9),
        best_step=session.best["step"],
        best_metric=session.best["metric"],
    )


def _run(session: Session) -> None:
    """The loop itself."""
    section = session.job.section
    evaluate_every = section.evaluate_every or session.epoch_steps
    checkpoint_every = section.checkpoint_every or session.epoch_steps
    with ExitStack() as stack:
        recorder = stack.enter_context(_recorder(session))
        interrupted = stack.enter_context(_interrupt_after_step())
        stream = _stream(session)
        stack.callback(stream.close)
        clock = _Clock()
        for step, epoch, batch in stream:
            figures = take_step(session, batch)
            session.step = step + 1
            session.seconds += clock.lap()
            last = session.step == session.total
            validated: dict[str, float] = {}
            if last or session.step % evaluate_every == 0:
                with clock.stopped():
                    validated = _validate(session, last)
            recorder.write(figures, epoch, clock.images_per_second(section.batch_size), validated)
            if last or session.step % checkpoint_every == 0 or interrupted.is_set():
                with clock.stopped():
                    session.save()
            if interrupted.is_set():
                raise KeyboardInterrupt
            if last:
                break
        if interrupted.is_set():  # during the last step's validation or checkpoint
            raise KeyboardInterrupt


def _stream(session: Session) -> BatchStream:
    job, accelerator = session.job, session.accelerator
    return BatchStream(
        job.training_set,
        job.section.batch_size,
        job.seed,
        job.section.workers,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        start_step=session.step,
    )


@dataclass(frozen=True)
class StepFigures:
    """What one optimiser step measured. `losses` are over the batch of all processes, before the balancer."""

    losses: dict[str, float]
    weights: dict[str, float]
    total: float
    gradient_norm: float
    learning_rate: float


def take_step(session: Session, batch: Batch) -> StepFigures:
    """One optimiser step on this process's part of the batch."""
    section, accelerator = session.job.section, session.accelerator
    rate = section.optimizer.lr * learning_rate_factor(session.step, session.total, section.warmup)
    set_learning_rate(session.optimizer.optimizer, rate)

    step = session.objective.step(batch, session.seed_piece)
    losses = step.losses
    total, weights = session.balancer.combine(losses, step.shared)
    accelerator.backward(total)
    step.backward()

    parameters = list(session.parameters.values())
    if section.clip_norm is not None:
        norm = accelerator.clip_grad_norm_(parameters, section.clip_norm)
    else:
        accelerator.unscale_gradients()
        norm = total_norm(parameters)
    values, total_value, norm_value = read_values(losses, total, norm)
    scaled = accelerator.scaler is not None
    refuse_divergence(
        session.step + 1, values, total_value, None if scaled else norm_value, session.checkpoints
    )

    session.optimizer.step()
    session.optimizer.zero_grad()
    if session.average is not None:
        session.average.update()
    step.after()
    return StepFigures(values, weights, total_value, norm_value, rate)


def _validate(session: Session, last: bool) -> dict[str, float]:
    """Figures of the weights as they are kept.

    The best so far are saved. The main process works, the others wait.
    """
    figures: dict[str, float] = {}
    if session.accelerator.is_main_process:
        figure = session.job.figure
        with session.averaged():
            figures = session.objective.validate()
            if figures:
                if not session.best or figure.better(figures[figure.name], session.best["metric"]):
                    session.save_best(figures[figure.name])
            elif last:
                session.save_best(None)
        session.learn()
    barrier()
    return figures


@dataclass
class _Recorder:
    """Sends what happened to metrics.jsonl, the trackers and whoever watches."""

    session: Session
    curves: Curves | None

    def write(self, figures: StepFigures, epoch: int, speed: float, validated: dict[str, float]) -> None:
        session = self.session
        record: dict[str, Any] = {
            "step": session.step,
            "epoch": epoch,
            "lr": figures.learning_rate,
            "total": figures.total,
            "losses": figures.losses,
            "weights": figures.weights,
            "grad_norm": figures.gradient_norm if math.isfinite(figures.gradient_norm) else None,
            "images_per_second": round(speed, 2),
        }
        if validated:
            record["validation"] = validated
        if self.curves is not None:
            self.curves.write(record)
        if validated or session.step % TRACK_EVERY == 0 or session.step == session.total:
            session.accelerator.log(_flat(record), step=session.step)
        if session.job.progress is not None and session.accelerator.is_main_process:
            left = (session.total - session.step) * session.job.section.batch_size
            eta = left / speed if speed > 0 else 0.0
            session.job.progress(
                ProgressEvent(session.step, session.total, figures.losses, speed, eta, validated)
            )


@contextmanager
def _recorder(session: Session) -> Iterator[_Recorder]:
    with ExitStack() as stack:
        stack.enter_context(tracking(session.accelerator, session.step))
        curves = None
        if session.accelerator.is_main_process:
            curves = stack.enter_context(Curves(session.job.folder / "metrics.jsonl", session.step))
        yield _Recorder(session, curves)


def _flat(record: dict[str, Any]) -> dict[str, float]:
    """{"losses": {"task": 1.0}, "lr": 0.1} -> {"losses/task": 1.0, "lr": 0.1}."""
    flat: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            flat.update({f"{name}/{part}": number for part, number in value.items()})
        elif name != "step" and value is not None:
            flat[name] = value
    return flat


@dataclass
class _Clock:
    """Time spent on steps and on waiting for batches; validation and checkpoints do not count."""

    window: deque[float] = field(default_factory=lambda: deque(maxlen=50))
    _since: float = field(default_factory=time.perf_counter)

    def lap(self) -> float:
        """Seconds since the lap before."""
        now = time.perf_counter()
        seconds = now - self._since
        self._since = now
        self.window.append(seconds)
        return seconds

    @contextmanager
    def stopped(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._since += time.perf_counter() - started

    def images_per_second(self, batch_size: int) -> float:
        return batch_size * len(self.window) / max(sum(self.window), 1e-9)


@contextmanager
def _interrupt_after_step() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event that the loop looks at between steps.

    The second one acts at once.
    """
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return

    def remember(number: int, frame: FrameType | None) -> None:
        log.warning("interrupted: a checkpoint is written after this step")
        pressed.set()
        signal.signal(signal.SIGINT, before)

    before = signal.getsignal(signal.SIGINT) or signal.default_int_handler
    signal.signal(signal.SIGINT, remember)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
