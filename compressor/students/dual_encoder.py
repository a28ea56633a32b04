"""The student: two towers, one projection each, one learned temperature."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

MAX_LOGIT_SCALE = 100.0
NORM_EPSILON = 1e-6
SHARED_PREFIX = "shared."


def unit_rows(x: Tensor) -> Tensor:
    """L2-normalised rows in fp32, whatever precision the tower ran in."""
    return functional.normalize(x.float(), dim=-1, eps=NORM_EPSILON)


class DualEncoder(nn.Module):
    """A compact CLIP (arXiv 2103.00020) that satisfies `Encoder`.

    `image_tower` maps (B, 3, H, W) to (B, image_tower.width), `text_tower` (B, L) ids to (B,
    text_tower.width). `shared` maps the projections' (B, embed_dim) of either to (B, embed_dim), by the same
    weights.
    """

    image_prefixes: ClassVar[tuple[str, ...]] = ("image_tower.", "image_projection.")

    def __init__(
        self,
        image_tower: nn.Module,
        text_tower: nn.Module,
        embed_dim: int,
        initial_temperature: float = 0.07,
        shared: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.image_tower = image_tower
        self.text_tower = text_tower
        self.image_projection = _projection(image_tower, embed_dim)
        self.text_projection = _projection(text_tower, embed_dim)
        self.shared = nn.Identity() if shared is None else shared
        scale = min(1 / initial_temperature, MAX_LOGIT_SCALE)
        self.log_logit_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, H, W) float32 -> (B, embed_dim), unit rows."""
        return unit_rows(self.shared(self.image_projection(self.image_tower(pixel_values))))

    def encode_text(self, input_ids: Tensor) -> Tensor:
        """(B, L) int64 -> (B, embed_dim), unit rows."""
        return unit_rows(self.shared(self.text_projection(self.text_tower(input_ids))))

    def forward(self, pixel_values: Tensor, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Both embeddings of a batch in one call, which is what distributed wrappers need."""
        return self.encode_image(pixel_values), self.encode_text(input_ids)

    @property
    def logit_scale(self) -> Tensor:
        """exp of the learned log temperature, at most 100.

        The parameter itself is pulled back to the bound when it is read, as CLIP does after every step; a
        clamp in the graph instead would have no gradient beyond the bound and never let it return.
        """
        with torch.no_grad():
            self.log_logit_scale.clamp_(max=math.log(MAX_LOGIT_SCALE))
        return self.log_logit_scale.exp()

    @property
    def logit_bias(self) -> Tensor | None:
        """CLIP has none."""
        return None


def _projection(tower: nn.Module, embed_dim: int) -> nn.Linear:
    width = tower.width
    assert isinstance(width, int)
    projection = nn.Linear(width, embed_dim, bias=False)
    nn.init.normal_(projection.weight, std=width**-0.5)
    return projection


def parameter_counts(encoder: nn.Module) -> dict[str, int]:
    """Parameters of the image side, of the text side, and in total (temperature and bias included).

    Works for every encoder of this project: each says with `image_prefixes` which parameters see pixels.
    Those of a block that both sides share count once, in the total alone.
    """
    prefixes = encoder.image_prefixes
    assert isinstance(prefixes, tuple)
    counts = {"image": 0, "text": 0, "total": 0}
    for name, parameter in encoder.named_parameters():
        counts["total"] += parameter.numel()
        if name.startswith(prefixes):
            counts["image"] += parameter.numel()
        elif not name.endswith(("logit_scale", "logit_bias")) and not name.startswith(SHARED_PREFIX):
            counts["text"] += parameter.numel()
    return counts
