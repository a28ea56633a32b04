"""open_clip's own towers, image and text. Those it takes from timm and transformers are found as such."""

from __future__ import annotations

from functools import partial
from typing import Any

from open_clip.transformer import CustomResidualAttentionBlock, ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn import functional

from compressor.capture.watch import Observe, Undo, Watch, Which, watch_fused
from compressor.capture.weights import attention_weights

FAMILY = "open_clip's own transformers"


def adapt(block: nn.Module, which: Which) -> Watch | None:
    """How to watch a residual attention block, of a CLIP tower or of CoCa's decoder."""
    if isinstance(block, CustomResidualAttentionBlock) and which == "self":
        return partial(watch_fused, block.attn)
    if isinstance(block, ResidualAttentionBlock) and (which == "cross") == hasattr(block, "ln_1_kv"):
        return partial(_watch_multihead, block.attn)
    return None


def _watch_multihead(attention: nn.MultiheadAttention, observe: Observe) -> Undo:
    """PyTorch's module keeps its queries and keys to itself, so they are projected a second time."""

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        query, key, _ = args
        mask: Tensor | None = kwargs["attn_mask"]
        if mask is not None and mask.ndim == 3:  # (B * H, Q, K)
            mask = mask.unflatten(0, (-1, attention.num_heads))
        observe(attention_weights(_project(attention, query, 0), _project(attention, key, 1), mask=mask))

    return attention.register_forward_pre_hook(hook, with_kwargs=True).remove


def _project(attention: nn.MultiheadAttention, tokens: Tensor, part: int) -> Tensor:
    """Queries (part 0) or keys (part 1) of all heads: (B, H, L, d)."""
    weight, bias = attention.in_proj_weight.chunk(3)[part], attention.in_proj_bias.chunk(3)[part]
    if not attention.batch_first:
        tokens = tokens.transpose(0, 1)
    return functional.linear(tokens, weight, bias).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
