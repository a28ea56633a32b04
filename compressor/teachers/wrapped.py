"""What the wrappers around other libraries' dual encoders share."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from compressor.students.dual_encoder import MAX_LOGIT_SCALE


class WrappedEncoder(nn.Module):
    """Another library's model, `self.model`, behind `Encoder`. A subclass says how each side is embedded."""

    def __init__(self, model: Any, embed_dim: int) -> None:
        super().__init__()
        self.model: Any = model  # the libraries' classes share methods, not a base class
        self.embed_dim = embed_dim

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, H, W) float32 -> (B, embed_dim), unit rows."""
        raise TypeError(f"{type(self).__name__} does not say how images are embedded")

    def encode_text(self, input_ids: Tensor) -> Tensor:
        """(B, L) int64 -> (B, embed_dim), unit rows."""
        raise TypeError(f"{type(self).__name__} does not say how texts are embedded")

    def forward(self, pixel_values: Tensor, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Both embeddings of a batch."""
        return self.encode_image(pixel_values), self.encode_text(input_ids)

    @property
    def logit_scale(self) -> Tensor:
        """exp of the learned log temperature; in training CLIP's is pulled back to 100, as CLIP does."""
        scale: Tensor = self.model.logit_scale
        if self.training and self.logit_bias is None:
            with torch.no_grad():
                scale.clamp_(max=math.log(MAX_LOGIT_SCALE))
        return scale.exp().reshape(())

    @property
    def logit_bias(self) -> Tensor | None:
        """SigLIP's bias, None for CLIP."""
        bias: Tensor | None = getattr(self.model, "logit_bias", None)
        return None if bias is None else bias.reshape(())
