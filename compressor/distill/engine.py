"""Hugging Face Accelerate as this project uses it: devices, precision, processes, trackers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as distributed
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from compressor.distill.processes import keep_to_cpu
from compressor.errors import MissingDependencyError, ModelError, RecipeError
from compressor.recipe.training import TrainingBase
from compressor.students.timm_tower import hold_batchnorm

PROJECT = "compressor"


def start_accelerator(section: TrainingBase, folder: Path) -> Accelerator:
    """An accelerator for one training; several may follow each other in one process.

    Raises `MissingDependencyError` for a tracker that is not installed, `RecipeError` for an unknown one and
    for a precision that this machine does not have.
    """
    check_trackers(section.trackers)
    # A singleton that would refuse a second training in another precision.
    AcceleratorState._reset_state()
    try:
        accelerator = Accelerator(
            mixed_precision=section.precision,
            cpu=keep_to_cpu(),
            log_with=list(section.trackers) or None,
            project_dir=str(folder / "logs"),
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
    except (ValueError, ImportError) as error:
        raise RecipeError(
            f"precision: {section.precision} cannot be used on this machine ({error})"
        ) from error
    if section.precision == "fp16" and accelerator.device.type == "cpu":
        raise RecipeError(
            "precision: fp16 needs a GPU, because a CPU has no loss scaling; use bf16, or 'no' for full "
            "precision"
        )
    return accelerator


def check_trackers(names: Sequence[str]) -> None:
    """Raise one sentence for a tracker that Accelerate does not know or that is not installed."""
    known = sorted(str(name) for name in LOGGER_TYPE_TO_CLASS)
    available = {str(name) for name in get_available_trackers()}
    for name in names:
        if name not in known:
            raise RecipeError(f"trackers: '{name}' is not a tracker; known are {', '.join(known)}")
        if name not in available:
            raise MissingDependencyError(
                f"trackers: the package of '{name}' is not installed; "
                f"`pip install {name.replace('_', '-')}`, or leave it out of trackers"
            )


@contextmanager
def tracking(accelerator: Accelerator, start_step: int) -> Iterator[Accelerator]:
    """Trackers that are open inside the block.

    TensorBoard drops what a killed run wrote beyond `start_step`.
    """
    accelerator.init_trackers(PROJECT, init_kwargs={"tensorboard": {"purge_step": start_step + 1}})
    try:
        yield accelerator
    finally:
        for tracker in accelerator.trackers:  # not `end_training`, which destroys the process group too
            tracker.finish()


def hold_or_refuse_batchnorm(encoder: nn.Module, choice: str, reason: str) -> None:
    """Freeze or refuse BatchNorm in training mode, which mixes the rows of a forward pass.

    Pieces and processes would change its result. `freeze` puts these layers into evaluation mode; `refuse`
    raises `ModelError` if there are any.
    """
    layers = [
        name for name, layer in encoder.named_modules() if isinstance(layer, _BatchNorm) and layer.training
    ]
    if not layers:
        return
    if choice == "freeze":
        hold_batchnorm(encoder)
        return
    raise ModelError(
        f"the model has {len(layers)} BatchNorm layers in training mode (first: {layers[0]}), whose "
        f"statistics would differ with {reason}; set batchnorm_across_processes: freeze, or freeze_batchnorm "
        "on the tower, or train in one process without micro_batch_size"
    )


def average_gradients(module: nn.Module) -> None:
    """Make the gradients of a module outside of DDP equal in all processes: their mean."""
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return
    for parameter in module.parameters():
        if parameter.grad is not None:
            distributed.all_reduce(parameter.grad)
            parameter.grad /= distributed.get_world_size()


def total_norm(parameters: Sequence[nn.Parameter]) -> torch.Tensor:
    """L2 norm of all gradients taken as one vector."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
