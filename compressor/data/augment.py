"""Random views of an image, each a pure function of (seed, sample id, view): any process can replay it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from compressor.data.randomness import keyed_uniforms
from compressor.preprocess.image import resize_image
from compressor.preprocess.spec import ImageSpec, Interpolation
from compressor.recipe.training import Augmentation

_ASPECT = 4 / 3
"""Crops have an aspect between 3:4 and 4:3, uniform in the logarithm (the usual random resized crop)."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A crop in relative units: share of the area, width / height, and where the slack lies (0 to 1)."""

    area: float
    aspect: float
    x: float
    y: float

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """(left, top, width, height) in pixels of an image; a side that does not fit is cut to the image."""
        target = self.area * width * height
        across = min(width, max(1, round(math.sqrt(target * self.aspect))))
        down = min(height, max(1, round(math.sqrt(target / self.aspect))))
        return round(self.x * (width - across)), round(self.y * (height - down)), across, down


@dataclass(frozen=True, slots=True)
class View:
    """What is done to an image: crop (None = plain geometry), mirror, then colour factors in this order."""

    crop: Crop | None = None
    flip: bool = False
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0


def view_parameters(config: Augmentation, seed: int, sample_id: str, view: int) -> View:
    """View number `view` of a sample.

    Every quantity has its own place in the hash of (seed, sample_id, view): switching one augmentation on or
    off does not change the others.
    """
    area, aspect, x, y, flip, *colour = keyed_uniforms("view", seed, sample_id, view)
    crop = None
    if config.crop_scale is not None:
        low, high = config.crop_scale
        crop = Crop(low + (high - low) * area, _ASPECT ** (2 * aspect - 1), x, y)
    brightness, contrast, saturation = (1 + config.colour * (2 * value - 1) for value in colour)
    return View(crop, flip < config.horizontal_flip, brightness, contrast, saturation)


def apply_view(pixels: NDArray[np.uint8], view: View | None, spec: ImageSpec) -> Tensor:
    """(H, W, 3) uint8 -> (3, size, size) uint8. `None` is the plain geometry of `resize_image`, to the byte.

    The crop's box depends on the picture's own size only, so a student and a teacher with other sizes see the
    same part of it. A crop is resized to a square, whatever `spec.resize` says, by torchvision with
    antialias.
    """
    if view is None:
        return plain_pixels(pixels, spec)
    geometry = plain_pixels(pixels, spec) if view.crop is None else cropped_pixels(pixels, view.crop, spec)
    return finish_view(geometry, view)


def plain_pixels(pixels: NDArray[np.uint8], spec: ImageSpec) -> Tensor:
    """The geometry without any augmentation: (3, size, size) uint8."""
    return torch.from_numpy(np.ascontiguousarray(resize_image(pixels, spec).transpose(2, 0, 1)))


def cropped_pixels(pixels: NDArray[np.uint8], crop: Crop, spec: ImageSpec) -> Tensor:
    """torchvision's `resized_crop` of the picture: (3, size, size) uint8."""
    left, top, width, height = crop.box(pixels.shape[1], pixels.shape[0])
    # Cropping before the tensor is made copies the part that is needed, not the whole read-only picture.
    part = torch.from_numpy(pixels[top : top + height, left : left + width].copy()).permute(2, 0, 1)
    size = [spec.size, spec.size]
    return functional.resize(part, size, _MODES[spec.interpolation], antialias=True).contiguous()


def finish_view(pixels: Tensor, view: View) -> Tensor:
    """Mirror and colour of a view, for pixels that already have their geometry: (3, H, W) uint8."""
    if view.flip:
        pixels = functional.horizontal_flip(pixels)
    if view.brightness != 1.0:
        pixels = functional.adjust_brightness(pixels, view.brightness)
    if view.contrast != 1.0:
        pixels = functional.adjust_contrast(pixels, view.contrast)
    if view.saturation != 1.0:
        pixels = functional.adjust_saturation(pixels, view.saturation)
    return pixels


_MODES: dict[Interpolation, InterpolationMode] = {
    "nearest": InterpolationMode.NEAREST_EXACT,
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "lanczos": InterpolationMode.BICUBIC,  # torchvision has no Lanczos for tensors; cubic is its nearest
}
