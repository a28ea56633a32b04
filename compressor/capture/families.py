"""Which models have maps to give: one adapter per family, and the layers of a tower in order."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from compressor.capture import blip, open_clip_blocks, own, timm_blocks, transformers_blocks
from compressor.capture.watch import Watch, Which
from compressor.errors import ModelError

Adapter = Callable[[nn.Module, Which], Watch | None]
"""How to watch the attention of a block, None where the module is no block of the family."""

_ADAPTERS: dict[str, Adapter] = {
    transformers_blocks.FAMILY: transformers_blocks.adapt,
    blip.FAMILY: blip.adapt,
    timm_blocks.FAMILY: timm_blocks.adapt,
    open_clip_blocks.FAMILY: open_clip_blocks.adapt,
    own.FAMILY: own.adapt,
}


def attention_layers(tower: nn.Module, which: Which) -> list[Watch]:
    """The attention layers of a tower, first to last.

    Raises `ModelError` for a family without an adapter, a tower without such attention, or a module that
    holds several stacks of layers (a whole CLIP, a T5 with encoder and decoder).
    """
    stacks: dict[str, list[Watch]] = {}
    for name, block in tower.named_modules():
        for adapt in _ADAPTERS.values():
            watch = adapt(block, which)
            if watch is not None:
                stacks.setdefault(name.rpartition(".")[0], []).append(watch)
                break
    label = type(tower).__name__
    if not stacks:
        raise ModelError(
            f"{label} has no {which}-attention that can be captured: the families are {'; '.join(_ADAPTERS)}"
        )
    if len(stacks) > 1:
        raise ModelError(f"{label} has several stacks of attention layers, give one: {', '.join(stacks)}")
    return next(iter(stacks.values()))
