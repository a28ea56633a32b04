"""BLIP's halves as modules that one ONNX graph each can hold: transformers' weights, our own attention.

transformers' modules keep their cache in Python objects and build their masks from configurations, neither
of which a graph can take in. Here the cache comes in and goes out as tensors. Beams stay a dimension of their
own, so that the keys and values of a picture are there once, however many beams attend to them: its beams
(and the tokens that are read together) are so many queries of one attention.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from compressor.students.blip import BlipGenerator

KeyValue = tuple[Tensor, Tensor]


class VisionGraph(nn.Module):
    """What the text halves see of a picture."""

    def __init__(self, generator: BlipGenerator) -> None:
        super().__init__()
        self.vision_model = generator.vision_model

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, H, W) float32 -> (B, S, D)."""
        states: Tensor = self.vision_model(pixel_values=pixel_values).last_hidden_state
        return states


class QuestionGraph(nn.Module):
    """A question that has been read beside its picture."""

    def __init__(self, generator: BlipGenerator) -> None:
        super().__init__()
        self.text_encoder: Any = generator.text_encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor, image_states: Tensor) -> Tensor:
        """(B, M) int64, (B, M) bool and (B, S, D) -> (B, M, D)."""
        hidden = _embed(self.text_encoder.embeddings, input_ids, torch.arange(input_ids.shape[1]))
        mask = attention_mask[:, None, None, :]
        for layer in self.text_encoder.encoder.layer:
            own = layer.attention.self
            context = _attend(_heads(own.query, hidden, own), *_key_value(own, hidden), mask)
            hidden = layer.attention.output(_joined(context), hidden)
            cross = layer.crossattention.self
            context = _attend(_heads(cross.query, hidden, cross), *_key_value(cross, image_states), None)
            hidden = layer.crossattention.output(_joined(context), hidden)
            hidden = layer.feed_forward_chunk(hidden)
        return hidden


class CrossGraph(nn.Module):
    """Keys and values of all layers' cross-attention: the same at every step, so computed once."""

    def __init__(self, generator: BlipGenerator) -> None:
        super().__init__()
        self.layers = generator.text_decoder.bert.encoder.layer

    def forward(self, states: Tensor) -> list[KeyValue]:
        """(B, S, D) -> of every layer the keys, transposed, (B, heads, W, S) and values (B, heads, S, W)."""
        found = [_key_value(layer.crossattention.self, states) for layer in self.layers]
        return [(key.transpose(-1, -2).contiguous(), value) for key, value in found]


class DecoderGraph(nn.Module):
    """The next tokens of a text: those that were read before are in the cache."""

    def __init__(self, generator: BlipGenerator) -> None:
        super().__init__()
        self.bert: Any = generator.text_decoder.bert
        self.head: nn.Module = generator.text_decoder.cls

    def forward(
        self,
        input_ids: Tensor,
        past: Sequence[KeyValue],
        cross: Sequence[KeyValue],
        context_mask: Tensor | None = None,
    ) -> tuple[Tensor, list[KeyValue]]:
        """(B, K, L) int64 and the keys and values of T earlier tokens -> logits (B, K, V) after the last, and
        the keys and values of T + L tokens.

        `past`: of every layer two (B, K, heads, T, W); `cross`: what `CrossGraph` gives; `context_mask`
        (B, S) bool, true where the context may be attended to, everywhere without it.
        """
        seen = past[0][0].shape[3]
        positions = seen + torch.arange(input_ids.shape[2])
        hidden = _embed(self.bert.embeddings, input_ids, positions)
        earlier = torch.arange(seen + input_ids.shape[2]) <= positions[:, None]
        mask = None if context_mask is None else context_mask[:, None, None, :]
        present: list[KeyValue] = []
        for layer, (past_key, past_value), (cross_key, cross_value) in zip(
            self.bert.encoder.layer, past, cross, strict=True
        ):
            own = layer.attention.self
            key, value = _key_value(own, hidden)
            key, value = torch.cat([past_key, key], dim=3), torch.cat([past_value, value], dim=3)
            present.append((key, value))
            context = _attend(_heads(own.query, hidden, own), key, value, earlier)
            hidden = layer.attention.output(_joined(context), hidden)
            cross_attention = layer.crossattention.self
            query = _heads(cross_attention.query, hidden.flatten(1, 2), cross_attention)
            context = _attend(query, cross_key.transpose(-1, -2), cross_value, mask)
            hidden = layer.crossattention.output(_joined(context).reshape(hidden.shape), hidden)
            hidden = layer.feed_forward_chunk(hidden)
        # As rows: so the exporter keeps the head's weights as they lie, which are the word embeddings too.
        logits: Tensor = self.head(hidden[:, :, -1].flatten(0, 1))
        return logits.unflatten(0, input_ids.shape[:2]), present


def _embed(embeddings: Any, input_ids: Tensor, positions: Tensor) -> Tensor:
    words = embeddings.word_embeddings(input_ids)
    embedded: Tensor = embeddings.LayerNorm(words + embeddings.position_embeddings(positions))
    return embedded


def _key_value(attention: Any, states: Tensor) -> KeyValue:
    return _heads(attention.key, states, attention), _heads(attention.value, states, attention)


def _heads(projection: nn.Module, states: Tensor, attention: Any) -> Tensor:
    """(..., L, D) -> (..., heads, L, W), by one of an attention's projections."""
    split: Tensor = projection(states).unflatten(-1, (attention.num_attention_heads, -1))
    return split.transpose(-2, -3)


def _joined(context: Tensor) -> Tensor:
    """(..., heads, L, W) -> (..., L, D)."""
    return context.transpose(-2, -3).flatten(-2)


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(Q Kᵀ / √W) V over the positions where `mask`, if any, is true."""
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1) @ value
