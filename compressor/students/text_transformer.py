"""A pre-norm transformer over tokens: the text tower of our own students."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Pool = Literal["mean", "last", "first"]


def token_mask(input_ids: Tensor, pad_id: int, eos_id: int | None) -> Tensor:
    """(B, L) ids -> (B, L) bool, true where a token counts: up to the first `eos_id`, or else not `pad_id`.

    The end-of-text token decides where there is one, because CLIP pads with an id that is also the token "!".
    The first position always counts: a row of padding alone (an image without a caption) still has a finite
    embedding, where a softmax over nothing would be NaN and poison the gradients of the whole batch.
    """
    length = input_ids.shape[1]
    positions = torch.arange(length, device=input_ids.device)
    if eos_id is None:
        return (input_ids != pad_id) | (positions == 0)
    end = torch.where(input_ids == eos_id, positions, length).amin(dim=1, keepdim=True)
    return positions <= end


def without_padding(input_ids: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Ids and mask without the columns at the end that count in no row: captions rarely fill the context.

    For towers whose counted positions never look at the others. Ordinary calls only: a graph that is being
    captured for export keeps its width, which must not depend on the ids.
    """
    if input_ids.is_meta or torch.compiler.is_compiling():
        return input_ids, counts
    used = int(counts.any(dim=0).nonzero().amax()) + 1 if len(input_ids) else input_ids.shape[1]
    return input_ids[:, :used], counts[:, :used]


def pool_tokens(tokens: Tensor, counts: Tensor, pool: Pool) -> Tensor:
    """(B, L, D) tokens and the (B, L) mask of those that count -> (B, D)."""
    if pool == "first":
        return tokens[:, 0]
    if pool == "last":
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        last = torch.where(counts, positions, 0).amax(dim=1)
        return tokens.gather(1, last[:, None, None].expand(-1, 1, tokens.shape[2])).squeeze(1)
    weights = counts.unsqueeze(-1).to(tokens.dtype)
    return (tokens * weights).sum(dim=1) / weights.sum(dim=1)


class ScaledDotProduct(nn.Module):
    """softmax(QK^T / sqrt(d)) V, fused.

    A module of its own because its inputs are all that an attention map is made of: a hook here sees queries,
    keys and the mask of one block without touching the fused computation.
    """

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Three (B, H, L, d) tensors and a bool mask, true = attend, that broadcasts to (B, H, L, L)."""
        dropout = self.dropout if self.training else 0.0
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)


class SelfAttention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.attend = ScaledDotProduct(dropout)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        heads = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = heads.unbind(0)
        attended: Tensor = self.attend(query, key, value, mask)
        return self.out(attended.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and feed-forward, each behind a layer norm and added to its input."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        hidden = round(width * mlp_ratio)
        self.norm1 = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        x = x + self.dropout(self.attention(self.norm1(x), mask))
        return x + self.dropout(self.mlp(self.norm2(x)))


class TextTransformer(nn.Module):
    """Token ids to one feature per row. Initialised as CLIP's text tower (arXiv 2103.00020 and its code)."""

    def __init__(
        self,
        vocab_size: int,
        pad_id: int,
        eos_id: int | None,
        width: int,
        layers: int,
        heads: int,
        mlp_ratio: float = 4.0,
        context_length: int = 77,
        causal: bool = False,
        pool: Pool = "mean",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width, self.causal, self.pool = width, causal, pool
        self.pad_id, self.eos_id = pad_id, eos_id
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.position_embedding = nn.Parameter(torch.empty(context_length, width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self._initialise(layers)

    def forward(self, input_ids: Tensor) -> Tensor:
        """(B, L) int64, L at most the context length -> (B, width)."""
        input_ids, counts = without_padding(input_ids, token_mask(input_ids, self.pad_id, self.eos_id))
        length = input_ids.shape[1]
        mask = counts[:, None, None, :]
        if self.causal:
            mask = mask & torch.ones(length, length, dtype=torch.bool, device=input_ids.device).tril()
        x = self.dropout(self.token_embedding(input_ids) + self.position_embedding[:length])
        for block in self.blocks:
            x = block(x, mask)
        return pool_tokens(self.norm(x), counts, self.pool)

    def _initialise(self, layers: int) -> None:
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.position_embedding, std=0.01)
        residual = self.width**-0.5 * (2 * layers) ** -0.5
        for block in self.blocks:
            assert isinstance(block, Block)
            nn.init.normal_(block.attention.qkv.weight, std=self.width**-0.5)
            nn.init.normal_(block.attention.out.weight, std=residual)
            nn.init.normal_(block.mlp[0].weight, std=(2 * self.width) ** -0.5)  # type: ignore[arg-type]
            nn.init.normal_(block.mlp[2].weight, std=residual)  # type: ignore[arg-type]
            for linear in (block.attention.qkv, block.attention.out, block.mlp[0], block.mlp[2]):
                nn.init.zeros_(linear.bias)  # type: ignore[arg-type]
