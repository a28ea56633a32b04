"""Masked patches: how many, where, and what the pixels hold."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.losses.feature import feature_loss
from compressor.losses.masked_feature import mask_patches, masked_feature_loss
from tests.losses.cases import rows

few = settings(max_examples=25, deadline=None)
sizes = st.integers(1, 13)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@few
@given(st.integers(0, 4), sizes, sizes, st.integers(1, 6), st.floats(0, 1), st.integers(0, 99))
def test_every_image_loses_the_same_number_of_whole_patches(
    size: int, height: int, width: int, patch: int, fraction: float, seed: int
) -> None:
    pixels = torch.rand(size, 3, height, width, generator=generator(seed)) + 1
    before = pixels.clone()
    masked, mask = mask_patches(pixels, patch, fraction, generator(seed))
    down, across = math.ceil(height / patch), math.ceil(width / patch)
    assert torch.equal(pixels, before)
    assert mask.dtype == torch.bool
    assert mask.shape == (size, down, across)
    assert (mask.flatten(1).sum(1) == round(fraction * down * across)).all()
    for image in range(size):
        for y in range(height):
            for x in range(width):
                expected = 0 if mask[image, y // patch, x // patch] else before[image, :, y, x]
                assert (masked[image, :, y, x] == expected).all()


def test_equal_generators_give_equal_masks_and_one_generator_new_ones() -> None:
    pixels = torch.ones(4, 3, 32, 32)
    one = generator(1)
    first, second = (mask_patches(pixels, 4, 0.5, one)[1] for _ in range(2))
    assert torch.equal(mask_patches(pixels, 4, 0.5, generator(1))[1], first)
    assert not torch.equal(first, second)
    assert len({tuple(mask.flatten().tolist()) for mask in first}) == 4


def test_the_masks_do_not_depend_on_global_randomness() -> None:
    pixels = torch.ones(2, 3, 16, 16)
    torch.manual_seed(0)
    first = mask_patches(pixels, 4, 0.5, generator(3))[1]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert torch.equal(mask_patches(pixels, 4, 0.5, generator(3))[1], first)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_patch_is_masked_equally_often() -> None:
    mask = mask_patches(torch.ones(4000, 1, 4, 4), 1, 0.25, generator(4))[1]
    often = mask.double().mean(dim=0)
    assert (often - 0.25).abs().max() < 5 * math.sqrt(0.25 * 0.75 / 4000)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_type_layout_and_graph_of_the_pixels_are_kept(dtype: torch.dtype) -> None:
    pixels = (
        torch.ones(2, 3, 8, 8, dtype=dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    )
    masked, mask = mask_patches(pixels, 4, 0.5, generator(5))
    masked.sum().backward()
    assert masked.dtype == dtype
    assert masked.is_contiguous(memory_format=torch.channels_last)
    assert pixels.grad is not None
    expected = ~mask.repeat_interleave(4, 1).repeat_interleave(4, 2)
    assert torch.equal(pixels.grad.bool(), expected[:, None].expand_as(pixels))


def test_what_cannot_be_masked_is_refused() -> None:
    pixels = torch.ones(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"\(B, C, H, W\)"):
        mask_patches(pixels[0], 4, 0.5, generator())
    with pytest.raises(ValueError, match="patch"):
        mask_patches(pixels, 0, 0.5, generator())
    for fraction in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="fraction"):
            mask_patches(pixels, 4, fraction, generator())


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_the_loss_is_the_feature_loss(norm: str) -> None:
    student, teacher = rows(5, 4, 1), rows(5, 4, 2)
    value = masked_feature_loss(student, teacher, norm)  # type: ignore[arg-type]
    assert torch.equal(value, feature_loss(student, teacher, norm))  # type: ignore[arg-type]
    assert torch.equal(masked_feature_loss(student, teacher), feature_loss(student, teacher, "l2"))
    assert masked_feature_loss(teacher, teacher) == 0
