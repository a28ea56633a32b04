"""The text tower of our own students."""

from __future__ import annotations

from functools import partial

from torch import nn

from compressor.capture.watch import Watch, Which, watch_fused
from compressor.students.text_transformer import Block

FAMILY = "our own text transformer"


def adapt(block: nn.Module, which: Which) -> Watch | None:
    """How to watch a block of ours."""
    if isinstance(block, Block) and which == "self":
        return partial(watch_fused, block.attention.attend)
    return None
