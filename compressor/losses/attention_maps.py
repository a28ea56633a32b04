"""What losses on attention maps share: which entries count, and scaling that survives a row of zeros."""

from __future__ import annotations

import torch
from torch import Tensor

from compressor.losses.rows import ZERO_ROW


def attention_mask(queries: Tensor, keys: Tensor | None = None) -> Tensor:
    """The entries of an attention map that count, from the tokens that count: rows times columns.

    Args:
        queries: (B, Q), bool or 0/1 integers, true where a token counts and is not padding.
        keys: (B, K) for cross-attention; left out for self-attention, where the tokens are both.

    Returns:
        bool (B, Q, K), true where both the query and the key count.

    Raises:
        ValueError: for other shapes, different batches, or masks of floating numbers.
    """
    keys = queries if keys is None else keys
    if queries.ndim != 2 or keys.ndim != 2 or len(queries) != len(keys):
        raise ValueError(
            "token masks must have the shapes (B, Q) and (B, K), "
            f"got {tuple(queries.shape)} and {tuple(keys.shape)}"
        )
    return _boolean(queries)[:, :, None] & _boolean(keys)[:, None, :]


def counted_entries(mask: Tensor | None, maps: Tensor) -> Tensor | None:
    """A mask in any of the accepted shapes as bool (B, 1, Q, K), which is a view where the mask is smaller.

    Args:
        mask: true where an entry counts; (B, K), (B, Q, K) or (B, 1, Q, K), where any size may be 1.
        maps: (B, H, Q, K).

    Raises:
        ValueError: for a mask of another shape or of floating numbers.
    """
    if mask is None:
        return None
    batch, _, queries, keys = maps.shape
    shape = tuple(mask.shape)
    if mask.ndim == 2:
        mask = mask[:, None, None, :]
    elif mask.ndim == 3:
        mask = mask[:, None]
    wanted = (batch, 1, queries, keys)
    if mask.ndim != 4 or any(size not in (1, full) for size, full in zip(mask.shape, wanted, strict=True)):
        raise ValueError(
            f"the mask must have the shape {(batch, keys)}, {(batch, queries, keys)} or {wanted}: heads are "
            f"mixed, so one mask serves all of them; got {shape}"
        )
    return _boolean(mask).to(maps.device).expand(wanted)


def only_counted(maps: Tensor, counted: Tensor | None) -> Tensor:
    """The maps with zeros where nothing counts: what stood there, even NaN, and its gradient are gone."""
    return maps if counted is None else torch.where(counted, maps, 0.0)


def inverse(mass: Tensor) -> Tensor:
    """1 / mass, and 0 with a gradient of 0 where the mass is not above 1e-12: zeros stay zeros."""
    # `<=` is false for NaN, which must stay visible.
    return mass.masked_fill(mass <= ZERO_ROW, torch.inf).reciprocal()


def inverse_root(square: Tensor) -> Tensor:
    """1 / √square, and 0 with a gradient of 0 where the root is not above 1e-12."""
    return square.masked_fill(square <= ZERO_ROW**2, torch.inf).rsqrt()


def _boolean(mask: Tensor) -> Tensor:
    if mask.is_floating_point() or mask.is_complex():
        raise ValueError(
            f"a mask must be bool or 0/1 integers, true where an entry counts, got {mask.dtype}; "
            "additive masks of 0 and -inf mean the opposite"
        )
    return mask.to(torch.bool)
