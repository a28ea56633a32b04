"""Several processes under `torchrun` or `accelerate launch`: one leads, the others join where useful.

The leader holds the run folder, decides what is done, records and reports. A follower waits to be called to
a stage, does its share there (rows of a batch, shards of the store), writes nothing else, and goes home after
the last stage that is worked on together: export and measurements belong to one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

TOGETHER = ("teacher", "cache", "distill")
_HOME = 255


def size() -> int:
    """Number of processes, as the launcher put it into the environment."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def leads() -> bool:
    """True for the one process that decides and records, and where there is only one."""
    return int(os.environ.get("RANK", "0")) == 0


def call_to(stage: str, key: str) -> None:
    """Leader: call the followers to a stage with its key."""
    if size() > 1:
        _broadcast(bytes([TOGETHER.index(stage)]) + bytes.fromhex(key))


def send_home() -> None:
    """Leader: there is nothing left to do together."""
    if size() > 1:
        _broadcast(bytes([_HOME]) + bytes(16))


def calls() -> Iterator[tuple[str, str]]:
    """Follower: the stages to join, with their keys, until sent home."""
    while True:
        message = _broadcast(bytes(17))
        if message[0] == _HOME:
            return
        yield TOGETHER[message[0]], message[1:].hex()


def _broadcast(message: bytes) -> bytes:
    import torch
    import torch.distributed as distributed

    from compressor.distill.processes import process_state

    sent = torch.tensor(list(message), dtype=torch.uint8, device=process_state().device)
    distributed.broadcast(sent, src=0)
    return bytes(sent.tolist())
