"""All that lives during one training and must survive a kill."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import nn

from compressor.distill.alignment import Alignment
from compressor.distill.checkpoint import Checkpoints, TrainingState, step_name
from compressor.distill.engine import hold_or_refuse_batchnorm
from compressor.distill.gradcache import MicroBatches, Towers
from compressor.distill.job import TrainingJob
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
from compressor.files import atomic_folder
from compressor.losses.balancer import Balancer, build_balancer
from compressor.losses.build import LossSet, build_losses
from compressor.recipe.losses import AMADLoss, MaskedFeatureLoss
from compressor.students.checkpoint import WEIGHTS_FILE, save_checkpoint
from compressor.students.weights import load_weights, read_weights, save_weights


@dataclass
class Session:
    """A prepared training.

    Modules on their device, optimiser, progress so far. `step` counts finished steps.
    """

    job: TrainingJob
    accelerator: Accelerator
    encoder: nn.Module
    alignment: Alignment | None
    towers: nn.Module
    losses: LossSet
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
    def start(cls, job: TrainingJob, accelerator: Accelerator) -> Session:
        """Prepare everything and go on from the newest checkpoint of `job.folder`, if there is one."""
        section, encoder = job.section, job.model.encoder
        assert isinstance(encoder, nn.Module)
        world = accelerator.num_processes
        if section.batch_size % world:
            raise RecipeError(f"batch_size {section.batch_size} is not a multiple of the {world} processes")
        losses = build_losses(
            job.losses, encoder.embed_dim, None if job.signals is None else job.signals.dim, job.seed
        ).to(accelerator.device)
        alignment = _alignment(job)
        towers = accelerator.prepare_model(
            Towers(encoder, job.model.preprocessor.image, _of_kind(job, MaskedFeatureLoss), alignment)
        )
        learned: dict[str, nn.Module] = {"encoder": encoder, "losses": losses}
        if alignment is not None:
            learned["alignment"] = alignment
        parameters = trainable_parameters(**learned)
        if not parameters:
            raise ModelError(
                f"the model '{job.model.name}' has no weights that learn: all of them are frozen"
            )
        rows = len(job.training_set)
        session = cls(
            job=job,
            accelerator=accelerator,
            encoder=encoder,
            alignment=alignment,
            towers=towers,
            losses=losses,
            balancer=build_balancer(job.balancer),
            parameters=parameters,
            optimizer=accelerator.prepare_optimizer(build_optimizer(section.optimizer, parameters)),
            average=MovingAverage(encoder, section.ema) if section.ema is not None else None,
            checkpoints=Checkpoints(job.folder / "checkpoints"),
            total=total_steps(section, rows),
            epoch_steps=steps_per_epoch(rows, section.batch_size),
            local_batch=section.batch_size // world,
            configuration=job.configuration(),
        )
        session._restore()
        session.learn()
        return session

    @property
    def micro_batches(self) -> MicroBatches:
        """The student's forward passes, in pieces where the recipe asks for them."""
        size = min(self.job.section.micro_batch_size or self.local_batch, self.local_batch)
        return MicroBatches(
            self.towers, size, self.seed_piece, partial(self.accelerator.no_sync, self.towers)
        )

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
        self.encoder.train()
        section = self.job.section
        pieces = section.micro_batch_size is not None and section.micro_batch_size < self.local_batch
        if self.accelerator.num_processes > 1 or pieces:
            reason = "micro_batch_size" if pieces else f"{self.accelerator.num_processes} processes"
            hold_or_refuse_batchnorm(
                self.encoder, getattr(section, "batchnorm_across_processes", "refuse"), reason
            )

    def averaged(self) -> AbstractContextManager[None]:
        """Inside the block the encoder holds the weights that are validated and kept."""
        return nullcontext() if self.average is None else self.average.in_place()

    def save(self) -> None:
        """Write a checkpoint of the step just finished; the main process alone."""
        if not self.accelerator.is_main_process:
            return
        tensors = {
            "model": self.encoder.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer.optimizer, self.parameters),
            "losses": self.losses.state_dict(),
        }
        if self.average is not None:
            tensors["average"] = self.average.tensors()
        if self.alignment is not None:
            tensors["alignment"] = self.alignment.state_dict()
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
        """Keep the weights that the encoder holds now as the best so far."""
        self.best = {"step": self.step, "metric": metric}
        model, path = self.job.model, self.best_folder
        if "family" in model.config:
            save_checkpoint(model, path)
            return
        with atomic_folder(path) as temporary:
            save_weights(self.encoder.state_dict(), temporary / WEIGHTS_FILE)

    @property
    def best_folder(self) -> Path:
        return self.job.folder / "best" / step_name(self.best["step"])

    def detach(self) -> None:
        """Take off what watched the student; its encoder is then as it was given."""
        if self.alignment is not None:
            self.alignment.detach()

    def load_best(self) -> None:
        """Leave the best weights in the encoder, in evaluation mode."""
        self.best = self.checkpoints.best_at(self.step)  # only the main process saw the validations
        path = self.best_folder / WEIGHTS_FILE
        load_weights(self.encoder, read_weights(path), path, f"the model '{self.job.model.name}'")
        self.encoder.eval()

    def _restore(self) -> None:
        state = self.checkpoints.load(self.configuration)
        if state is None:
            return
        self.encoder.load_state_dict(state.tensors["model"])
        self.losses.load_state_dict(state.tensors.get("losses", {}))
        if self.alignment is not None:
            self.alignment.load_state_dict(state.tensors.get("alignment", {}))
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


def _alignment(job: TrainingJob) -> Alignment | None:
    """What compares attention maps, where a loss asks for it."""
    config = _of_kind(job, AMADLoss)
    return None if config is None else Alignment(config, job.model)


Config = TypeVar("Config")


def _of_kind(job: TrainingJob, kind: type[Config]) -> Config | None:
    return next((loss for loss in job.losses if isinstance(loss, kind)), None)
