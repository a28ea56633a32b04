"""All that lives during one training and must survive a kill."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer

from compressor.distill.checkpoint import Checkpoints, TrainingState, step_name
from compressor.distill.engine import hold_or_refuse_batchnorm
from compressor.distill.job import Job
from compressor.distill.objective import Objective
from compressor.distill.optim import (
    MovingAverage,
    NamedParameters,
    build_optimizer,
    load_optimizer_tensors,
    optimizer_tensors,
    trainable_parameters,
)
from compressor.distill.schedule import steps_per_epoch, total_steps
from compressor.errors import ModelError, RecipeError
from compressor.losses.balancer import Balancer, build_balancer


@dataclass
class Session:
    """A prepared training.

    Modules on their device, optimiser, progress so far. `step` counts finished steps.
    """

    job: Job
    accelerator: Accelerator
    objective: Objective
    balancer: Balancer
    parameters: NamedParameters
    optimizer: AcceleratedOptimizer
    average: MovingAverage | None
    checkpoints: Checkpoints
    total: int
    epoch_steps: int
    local_batch: int
    configuration: str
    step: int = 0
    seconds: float = 0.0
    best: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def start(cls, job: Job, accelerator: Accelerator) -> Session:
        """Prepare everything and go on from the newest checkpoint of `job.folder`, if there is one."""
        section, world = job.section, accelerator.num_processes
        if section.batch_size % world:
            raise RecipeError(f"batch_size {section.batch_size} is not a multiple of the {world} processes")
        objective = job.objective(accelerator)
        parameters = trainable_parameters(encoder=objective.model, **objective.parts)
        if not parameters:
            raise ModelError(
                f"the model '{job.model.name}' has no weights that learn: all of them are frozen"
            )
        rows = len(job.training_set)
        session = cls(
            job=job,
            accelerator=accelerator,
            objective=objective,
            balancer=build_balancer(job.balancer),
            parameters=parameters,
            optimizer=accelerator.prepare_optimizer(build_optimizer(section.optimizer, parameters)),
            average=MovingAverage(objective.model, section.ema) if section.ema is not None else None,
            checkpoints=Checkpoints(job.folder / "checkpoints"),
            total=total_steps(section, rows),
            epoch_steps=steps_per_epoch(rows, section.batch_size),
            local_batch=section.batch_size // world,
            configuration=job.configuration(),
        )
        session._restore()
        session.learn()
        return session

    def seed_piece(self, number: int) -> None:
        """Seed dropout and its like from (seed, step, process, piece).

        A resumed run needs no generator state.
        """
        facts = f"{self.job.seed}/{self.step}/{self.accelerator.process_index}/{number}"
        torch.manual_seed(int.from_bytes(blake2b(facts.encode(), digest_size=7).digest()))

    def learn(self) -> None:
        """Training mode.

        BatchNorm frozen or refused where pieces or processes would change its statistics.
        """
        self.objective.model.train()
        section = self.job.section
        pieces = section.micro_batch_size is not None and section.micro_batch_size < self.local_batch
        if self.accelerator.num_processes > 1 or pieces:
            reason = "micro_batch_size" if pieces else f"{self.accelerator.num_processes} processes"
            hold_or_refuse_batchnorm(
                self.objective.model, getattr(section, "batchnorm_across_processes", "refuse"), reason
            )

    def averaged(self) -> AbstractContextManager[None]:
        """Inside the block the model holds the weights that are validated and kept."""
        return nullcontext() if self.average is None else self.average.in_place()

    def save(self) -> None:
        """Write a checkpoint of the step just finished; the main process alone."""
        if not self.accelerator.is_main_process:
            return
        tensors = {
            "model": self.objective.model.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer.optimizer, self.parameters),
        } | {name: part.state_dict() for name, part in self.objective.parts.items()}
        if self.average is not None:
            tensors["average"] = self.average.tensors()
        scaler = self.accelerator.scaler
        state = TrainingState(
            step=self.step,
            configuration=self.configuration,
            tensors=tensors,
            balancer=self.balancer.state_dict(),
            best=self.best,
            average_updates=0 if self.average is None else self.average.updates,
            scaler={} if scaler is None else scaler.state_dict(),
            seconds=self.seconds,
        )
        self.checkpoints.save(state)
        self._drop_old_bests()

    def save_best(self, metric: float | None) -> None:
        """Keep the weights that the model holds now as the best so far."""
        self.best = {"step": self.step, "metric": metric}
        self.objective.save(self.best_folder)

    @property
    def best_folder(self) -> Path:
        return self.job.folder / "best" / step_name(self.best["step"])

    def load_best(self) -> None:
        """Leave the best weights in the model, in evaluation mode."""
        self.best = self.checkpoints.best_at(self.step)  # only the main process saw the validations
        self.objective.load(self.best_folder)
        self.objective.model.eval()

    def _restore(self) -> None:
        state = self.checkpoints.load(self.configuration)
        if state is None:
            return
        self.objective.model.load_state_dict(state.tensors["model"])
        for name, part in self.objective.parts.items():
            part.load_state_dict(state.tensors.get(name, {}))
        load_optimizer_tensors(self.optimizer.optimizer, self.parameters, state.tensors.get("optimizer", {}))
        self.balancer.load_state_dict(state.balancer)
        if self.average is not None:
            self.average.load(state.tensors["average"], state.average_updates)
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state.scaler)
        self.step, self.seconds, self.best = state.step, state.seconds, state.best

    def _drop_old_bests(self) -> None:
        """Delete best weights that no kept checkpoint could go back to."""
        folder = self.job.folder / "best"
        wanted = {step_name(step) for step in self.checkpoints.best_steps()}
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in wanted and not path.name.startswith("."):
                shutil.rmtree(path, ignore_errors=True)
