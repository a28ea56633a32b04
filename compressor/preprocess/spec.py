"""What preprocessing does, as data: the content of `preprocess.json`."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

SCHEMA_VERSION = 1
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Resize = Literal["shortest", "squash", "pad"]
Clean = Literal["none", "lower", "whitespace", "clip", "canonicalize", "siglip"]


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class ImageSpec(_Spec):
    """From a decoded picture to the pixels of an image tower.

    `resize`: `shortest` brings the shorter side to `size` and crops the centre (CLIP), `squash` resizes both
    sides (SigLIP), `pad` brings the longer side to `size` and fills the rest with black. Downscaling always
    filters over the whole source area (torchvision's antialias). `crop_rounding` places a crop whose margin
    is odd: `even` rounds half pixels to even (torchvision), `floor` down (transformers). `mean` and `std` are
    per RGB channel, for pixels in [0, 1].
    """

    size: int = Field(ge=1, le=4096)
    resize: Resize = "shortest"
    interpolation: Interpolation = "bicubic"
    crop_rounding: Literal["even", "floor"] = "even"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @field_validator("mean", "std")
    @classmethod
    def _finite(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if not all(math.isfinite(channel) for channel in value):
            raise ValueError("every channel must be a finite number")
        return value

    @field_validator("std")
    @classmethod
    def _positive(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(value) <= 0:
            raise ValueError("every channel must be above zero")
        return value


class TextSpec(_Spec):
    """From a string to the token ids of a text tower.

    `clean` happens before the tokeniser (see `compressor.preprocess.text.clean_text`). Every row is padded
    with `pad_id` to `context_length`; a longer text is cut so that its closing token stays. `eos_id` is that
    closing token, or null where the tokeniser adds none: CLIP pads with id 0, which is also the token "!", so
    a tower that must find the end of the text looks for the first `eos_id`, not for padding.
    """

    context_length: int = Field(ge=1, le=8192)
    clean: Clean = "none"
    pad_id: int = Field(0, ge=0)
    eos_id: int | None = Field(None, ge=0)


class PreprocessSpec(_Spec):
    """The whole of `preprocess.json`; the tokeniser itself stands beside it in `tokenizer.json`."""

    schema_version: int = SCHEMA_VERSION
    image: ImageSpec
    text: TextSpec
