"""The processes that train or build together, as Accelerate finds them in the environment."""

from __future__ import annotations

import os

import torch
import torch.distributed as distributed
from accelerate import PartialState


def keep_to_cpu() -> bool:
    """True without an accelerator, or where `ACCELERATE_USE_CPU` asks for it.

    Accelerate must be told: on its own it starts no process group for several processes on a CPU.
    """
    asked = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "on")
    return asked or not torch.accelerator.is_available()


def process_state() -> PartialState:
    """Rank, world and device of this process.

    Joins the process group under `torchrun` or `accelerate launch`.
    """
    return PartialState(cpu=keep_to_cpu())


def barrier() -> None:
    """Wait for all processes; nothing where there is but one."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
