"""timm's plain vision transformers: one stack of blocks over all tokens."""

from __future__ import annotations

from functools import partial

from timm.models.eva import AttentionRope, EvaAttention, EvaBlock, EvaBlockPostNorm
from timm.models.vision_transformer import Attention, Block, ParallelScalingBlock, ResPostBlock
from torch import nn

from compressor.capture.watch import Watch, Which, watch_fused

FAMILY = "timm VisionTransformer and Eva"


def adapt(block: nn.Module, which: Which) -> Watch | None:
    """How to watch a block; not one whose attention is the difference of two maps, or runs in windows."""
    if which == "cross":
        return None
    if isinstance(block, ParallelScalingBlock):  # attention and feed-forward in one, without a module between
        return partial(watch_fused, block)
    if isinstance(block, Block | ResPostBlock | EvaBlock | EvaBlockPostNorm) and isinstance(
        block.attn, Attention | AttentionRope | EvaAttention
    ):
        return partial(watch_fused, block.attn)
    return None
