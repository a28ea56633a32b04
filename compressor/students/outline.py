"""Size and cost of a model that is not built: parameters and operations, counted without any weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from compressor.students.dual_encoder import parameter_counts
from compressor.students.encoder import Encoder


@dataclass(frozen=True)
class Outline:
    """Parameters by side, and floating-point operations (2 per multiply-add) of one image and of one text."""

    parameters: dict[str, int]
    embed_dim: int
    image_flops: int
    text_flops: int

    @property
    def pair_flops(self) -> int:
        """One image and one text, forward."""
        return self.image_flops + self.text_flops


def outline_encoder(encoder: Encoder, image_size: int, context_length: int) -> Outline:
    """Outline of an encoder whose parameters are on the meta device (nothing is computed there)."""
    assert isinstance(encoder, nn.Module)
    encoder.eval()
    with torch.device("meta"), torch.no_grad():
        pixels = torch.zeros(1, 3, image_size, image_size)
        tokens = torch.zeros(1, context_length, dtype=torch.long)
        with FlopCounterMode(display=False) as image:
            encoder.encode_image(pixels)
        with FlopCounterMode(display=False) as text:
            encoder.encode_text(tokens)
    return Outline(
        parameter_counts(encoder), encoder.embed_dim, image.get_total_flops(), text.get_total_flops()
    )


def joined_outline(outlines: Sequence[Outline]) -> Outline:
    """Outline of several models that all run, their embeddings side by side."""
    return Outline(
        {side: sum(each.parameters[side] for each in outlines) for side in outlines[0].parameters},
        sum(each.embed_dim for each in outlines),
        sum(each.image_flops for each in outlines),
        sum(each.text_flops for each in outlines),
    )
