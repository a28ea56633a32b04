"""The two towers of a dual encoder, whatever its library calls them."""

from __future__ import annotations

from typing import Literal

from torch import nn

from compressor.errors import ModelError

Side = Literal["image", "text"]

_NAMES: dict[str, tuple[str, ...]] = {
    "image": ("image_tower", "vision_model", "visual"),
    "text": ("text_tower", "text_model", "text_encoder", "text", "transformer"),
}
"""Ours, transformers', open_clip's; open_clip's CLIP has no text module, only its blocks, `transformer`."""


def tower(encoder: nn.Module, side: Side) -> nn.Module:
    """The image or text tower of an encoder of this project, or of the model that it wraps.

    Raises `ModelError` where there is none.
    """
    for holder in (encoder, getattr(encoder, "model", None)):
        for name in _NAMES[side]:
            found = getattr(holder, name, None)
            if isinstance(found, nn.Module):
                return found
    raise ModelError(f"{type(encoder).__name__} has no {side} tower that attention could be captured from")
