"""transformers BLIP, whose attention is written out and never fused: the map is there, before its dropout."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from compressor.capture.watch import Observe, Undo, Watch, Which

FAMILY = "transformers BLIP"

_DROPOUT = {
    "transformers.models.blip.modeling_blip.BlipEncoderLayer": {"self": "self_attn.dropout"},
    "transformers.models.blip.modeling_blip_text.BlipTextLayer": {
        "self": "attention.self.dropout",
        "cross": "crossattention.self.dropout",
    },
}
"""Where a block drops attention weights."""


def adapt(block: nn.Module, which: Which) -> Watch | None:
    """How to watch a BLIP block: its vision model, text encoder or text decoder."""
    kind = type(block)
    path = _DROPOUT.get(f"{kind.__module__}.{kind.__qualname__}", {}).get(which)
    if path is None:
        return None
    try:
        return partial(_watch_input, block.get_submodule(path))
    except AttributeError:  # a text encoder without pictures
        return None


def _watch_input(dropout: nn.Module, observe: Observe) -> Undo:
    def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
        observe(args[0])

    return dropout.register_forward_pre_hook(hook).remove
