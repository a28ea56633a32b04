"""The student sees part of the image and must know the whole (masked feature distillation, CLIP-KD)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from compressor.losses.feature import feature_loss


def mask_patches(
    pixels: Tensor, patch: int, fraction: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Paint a random share of the patches of every image in the mean colour.

    Squares are laid from the top left without overlap; where height or width is no multiple of `patch` those
    at the lower and right border are cut off and count as patches like any other. Every image has the same
    number of them masked, `fraction` of all rounded to the nearest, each choice equally likely.

    Args:
        pixels: (B, C, H, W), normalised, so that 0 is the mean colour; not changed.
        patch: side of a square in pixels.
        fraction: from 0 to 1; CLIP-KD (arXiv 2307.12732) masks 0.75.
        generator: on any device. Equal states of generators of one device give equal masks, wherever the
            pixels are.

    Returns:
        The masked pixels, and the mask: bool (B, ⌈H / patch⌉, ⌈W / patch⌉), true where a square is masked.

    Raises:
        ValueError: for pixels that are not (B, C, H, W), a patch below 1 or a fraction outside 0 to 1.
    """
    if pixels.ndim != 4:
        raise ValueError(f"pixels must have the shape (B, C, H, W), got {tuple(pixels.shape)}")
    if patch < 1:
        raise ValueError(f"patch must be at least 1 pixel, got {patch}")
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction must lie between 0 and 1, got {fraction}")
    size, _, height, width = pixels.shape
    rows, columns = -(-height // patch), -(-width // patch)
    order = torch.rand(size, rows * columns, generator=generator, device=generator.device).argsort(dim=1)
    # A random order of the patches, ranked: exactly the ranks below the wanted number are masked.
    mask = (order < round(fraction * rows * columns)).view(size, rows, columns).to(pixels.device)
    squares = mask.repeat_interleave(patch, dim=1).repeat_interleave(patch, dim=2)
    masked = pixels.clone()  # `masked_fill` would not keep channels last
    return masked.masked_fill_(squares[:, None, :height, :width], 0), mask


def masked_feature_loss(
    student_of_masked_image: Tensor, teacher_image: Tensor, norm: Literal["l1", "l2"] = "l2"
) -> Tensor:
    """feature_loss of the student's embedding of the masked image to the teacher's of the whole one.

    Args:
        student_of_masked_image: (B, D), the student's embedding of what `mask_patches` left.
        teacher_image: (B, D), the teacher's embedding of the image without a mask.
        norm: `l2` as published (CLIP-KD weighs its squared error with 2000), or `l1`.

    Returns:
        Scalar, float32 (float64 if an input is float64). No rows give 0.

    Raises:
        ValueError: for shapes that differ or an unknown norm.
    """
    return feature_loss(student_of_masked_image, teacher_image, norm)
