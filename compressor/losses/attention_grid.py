"""Attention maps of another patch size: brought from one grid of patches to another."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from compressor.losses.attention_maps import inverse
from compressor.losses.rows import full_precision, without_autocast


def resize_attention(
    maps: Tensor,
    grid_from: tuple[int, int],
    grid_to: tuple[int, int],
    prefix_tokens: int = 1,
    *,
    resize_queries: bool = True,
) -> Tensor:
    """Attention between the patches of one grid as attention between those of another.

    Tokens are the prefix (class and register tokens) followed by the patches row by row. Patches are resized
    as a picture: bilinear, and where the grid shrinks with a filter that leaves no patch out. Prefix tokens
    stay as they are: in every row they keep their mass and the patches theirs, distributed anew. The row of a
    patch query is a mix of rows of the old grid. In the end rows are scaled to sum 1; zeros stay zeros.

    Args:
        maps: (B, H, Q, K), any floating dtype; gradients flow.
        grid_from: (rows, columns) of patches in `maps`.
        grid_to: (rows, columns) wanted.
        prefix_tokens: tokens before the patches, 0 or more.
        resize_queries: queries are patches too, as in self-attention; false for cross-attention from words.

    Returns:
        (B, H, Q', K'), float32 (float64 for float64); `maps` themselves if the grids are equal.

    Raises:
        ValueError: for maps that do not have that many tokens, or a grid without patches.
    """
    tokens = prefix_tokens + grid_from[0] * grid_from[1]
    if min(*grid_from, *grid_to) < 1 or prefix_tokens < 0:
        raise ValueError(
            "grids need at least one row and column and prefix_tokens be 0 or more, "
            f"got {grid_from}, {grid_to} and {prefix_tokens}"
        )
    if maps.ndim != 4 or maps.shape[3] != tokens or (resize_queries and maps.shape[2] != tokens):
        wanted = f"(B, H, {tokens if resize_queries else 'Q'}, {tokens})"
        raise ValueError(
            f"a grid of {grid_from[0]} x {grid_from[1]} patches after {prefix_tokens} other tokens has maps "
            f"{wanted}, got {tuple(maps.shape)}"
        )
    if grid_from == grid_to:
        return maps
    with without_autocast(maps):
        (maps,) = full_precision(maps)
        prefix, patches = maps.split([prefix_tokens, tokens - prefix_tokens], dim=-1)
        resized = _resized(patches, grid_from, grid_to)
        mass = patches.sum(dim=-1, keepdim=True) * inverse(resized.sum(dim=-1, keepdim=True))
        maps = torch.cat([prefix, resized * mass], dim=-1)
        if resize_queries:
            prefix, patches = maps.mT.split([prefix_tokens, tokens - prefix_tokens], dim=-1)
            maps = torch.cat([prefix, _resized(patches, grid_from, grid_to)], dim=-1).mT
        return maps * inverse(maps.sum(dim=-1, keepdim=True))


def _resized(patches: Tensor, grid_from: tuple[int, int], grid_to: tuple[int, int]) -> Tensor:
    """(B, H, N, rows·columns) -> (B, H, N, rows'·columns'), each of the B·H·N vectors as a picture."""
    pictures = patches.flatten(0, 1).unflatten(-1, grid_from)
    resized = F.interpolate(pictures, size=grid_to, mode="bilinear", align_corners=False, antialias=True)
    return resized.flatten(2).unflatten(0, patches.shape[:2])
