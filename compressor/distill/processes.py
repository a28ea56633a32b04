"""The processes that train or build together, as Accelerate finds them in the environment."""

from __future__ import annotations

import atexit
import os
from contextlib import suppress

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

    Joins the process group under `torchrun` or `accelerate launch`, and leaves it when the process ends.
    """
    state = PartialState(cpu=keep_to_cpu())
    atexit.unregister(_leave)
    atexit.register(_leave)
    return state


def _leave() -> None:
    """End the group's threads while Python still runs.

    Left to the libraries' destructors they abort the process now and then, which torchrun takes for a failure
    and stops all the others.
    """
    if distributed.is_available() and distributed.is_initialized():
        with suppress(Exception):  # another process may be gone already
            distributed.destroy_process_group()


def barrier() -> None:
    """Wait for all processes; nothing where there is but one."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
