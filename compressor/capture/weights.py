"""The attention map itself."""

from __future__ import annotations

import torch
from torch import Tensor


def attention_weights(
    query: Tensor,
    key: Tensor,
    *,
    mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """softmax(Q K^T * scale + mask), what `scaled_dot_product_attention` computes and never shows.

    `query` (B, H, Q, d) and `key` (B, H, K, d); `mask` broadcasts to (B, H, Q, K) and is bool (true = attend)
    or added to the scores; `scale` is 1/sqrt(d) unless given. Returns (B, H, Q, K) in fp32 (fp64 for fp64
    inputs) whatever precision the model runs in: the entries of a map over 197 tokens differ by less than
    bf16 resolves. A row that may attend to nothing comes out finite, not NaN.
    """
    dtype = torch.promote_types(query.dtype, torch.float32)
    lowest = torch.finfo(dtype).min
    if is_causal:
        mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    with torch.autocast(query.device.type, enabled=False):
        query = query.to(dtype) * (query.shape[-1] ** -0.5 if scale is None else scale)
        scores = query @ key.to(dtype).transpose(-2, -1)
        if mask is None:
            return scores.softmax(-1)
        # In place: a batch of maps is large, and neither operation needs the scores for its gradient.
        if mask.dtype == torch.bool:
            return scores.masked_fill_(~mask, lowest).softmax(-1)
        return scores.add_(mask.to(dtype).clamp(min=lowest)).softmax(-1)
