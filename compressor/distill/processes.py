"""The processes that train or build together, as Accelerate finds them in the environment."""

from __future__ import annotations

import torch.distributed as distributed
from accelerate import PartialState


def process_state() -> PartialState:
    """Rank, world and device of this process.

    Joins the process group under `torchrun` or `accelerate launch`.
    """
    return PartialState()


def barrier() -> None:
    """Wait for all processes; nothing where there is but one."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
