"""Views of an image: replayable from their key alone, and what torchvision makes of the same parameters."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from compressor.data.augment import Crop, View, apply_view, view_parameters
from compressor.preprocess.image import resize_image
from compressor.preprocess.spec import ImageSpec
from compressor.recipe.training import Augmentation

ALL = Augmentation(crop_scale=(0.4, 0.9), horizontal_flip=0.5, colour=0.4)


def spec(size: int = 32, resize: str = "shortest", interpolation: str = "bicubic") -> ImageSpec:
    values = {"size": size, "resize": resize, "interpolation": interpolation}
    return ImageSpec(**values, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))  # type: ignore[arg-type]


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels.flags.writeable = False
    return pixels


@settings(max_examples=40, deadline=None)
@given(st.integers(-(2**40), 2**40), st.text(max_size=20), st.integers(0, 10_000))
def test_parameters_depend_on_the_key_alone_and_keep_their_bounds(seed: int, sample: str, view: int) -> None:
    drawn = view_parameters(ALL, seed, sample, view)
    assert drawn == view_parameters(ALL, seed, sample, view)
    assert drawn.crop is not None
    assert 0.4 <= drawn.crop.area <= 0.9
    assert 3 / 4 <= drawn.crop.aspect <= 4 / 3
    assert 0 <= drawn.crop.x < 1
    assert 0 <= drawn.crop.y < 1
    for factor in (drawn.brightness, drawn.contrast, drawn.saturation):
        assert 0.6 <= factor <= 1.4


def test_another_process_replays_the_same_view() -> None:
    code = (
        "from compressor.data.augment import view_parameters\n"
        "from compressor.recipe.training import Augmentation\n"
        "config = Augmentation(crop_scale=(0.4, 0.9), horizontal_flip=0.5, colour=0.4)\n"
        "print(repr(view_parameters(config, 7, 'sample', 3)))"
    )
    command = [sys.executable, "-c", code]
    output = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == repr(view_parameters(ALL, 7, "sample", 3))


@pytest.mark.parametrize("other", [(8, "sample", 3), (7, "sample2", 3), (7, "sample", 4)])
def test_seed_sample_and_view_each_change_the_view(other: tuple[int, str, int]) -> None:
    assert view_parameters(ALL, *other) != view_parameters(ALL, 7, "sample", 3)


def test_views_are_spread_as_the_recipe_says() -> None:
    views = [view_parameters(ALL, 0, f"row-{k}", 0) for k in range(4000)]
    flips = np.mean([view.flip for view in views])
    areas = np.asarray([view.crop.area for view in views if view.crop])
    aspects = np.log([view.crop.aspect for view in views if view.crop])
    places = np.asarray([(view.crop.x, view.crop.y) for view in views if view.crop])
    assert abs(flips - 0.5) < 0.03
    assert abs(areas.mean() - 0.65) < 0.01
    assert abs(areas.std() - 0.5 / math.sqrt(12)) < 0.01
    assert abs(aspects.mean()) < 0.01
    assert np.abs(places.mean(0) - 0.5).max() < 0.02
    quantities = np.stack([areas, aspects, *places.T, [view.brightness for view in views]])
    assert np.abs(np.corrcoef(quantities) - np.eye(5)).max() < 0.06


def test_one_augmentation_does_not_disturb_another() -> None:
    for sample in ("a", "b", "c", "d"):
        alone = view_parameters(Augmentation(crop_scale=(0.4, 0.9)), 1, sample, 2)
        everything = view_parameters(ALL, 1, sample, 2)
        assert alone.crop == everything.crop
        assert alone == View(crop=everything.crop)
        assert view_parameters(Augmentation(horizontal_flip=0.5), 1, sample, 2).flip == everything.flip


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.floats(0.01, 1.0),
    st.floats(0.75, 4 / 3),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_a_crop_lies_within_the_picture(
    width: int, height: int, area: float, aspect: float, x: float, y: float
) -> None:
    left, top, across, down = Crop(area, aspect, x, y).box(width, height)
    assert left >= 0
    assert top >= 0
    assert across >= 1
    assert down >= 1
    assert left + across <= width
    assert top + down <= height
    if (
        math.sqrt(area * width * height * aspect) <= width
        and math.sqrt(area * width * height / aspect) <= height
    ):
        assert abs(across - math.sqrt(area * width * height * aspect)) <= 1
        assert abs(down - math.sqrt(area * width * height / aspect)) <= 1


@pytest.mark.parametrize("resize", ["shortest", "squash", "pad"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(50, 40), (20, 70), (32, 32)])
def test_no_view_is_the_plain_geometry_to_the_byte(
    resize: str, interpolation: str, size: tuple[int, int]
) -> None:
    wanted = spec(32, resize, interpolation)
    pixels = picture(*size)
    plain = apply_view(pixels, None, wanted)
    assert plain.dtype == torch.uint8
    assert plain.is_contiguous()
    assert np.array_equal(plain.numpy(), resize_image(pixels, wanted).transpose(2, 0, 1))
    assert torch.equal(apply_view(pixels, View(), wanted), plain)
    assert torch.equal(apply_view(pixels, View(flip=True), wanted), plain.flip(-1))


MODES = {
    "nearest": InterpolationMode.NEAREST_EXACT,
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "lanczos": InterpolationMode.BICUBIC,
}


@pytest.mark.parametrize("interpolation", list(MODES))
def test_a_view_is_what_torchvision_makes_of_its_parameters(interpolation: str) -> None:
    pixels = picture(90, 60)
    whole = torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()
    for number in range(6):
        view = view_parameters(ALL, 3, "sample", number)
        assert view.crop is not None
        left, top, width, height = view.crop.box(90, 60)
        expected = functional.resized_crop(
            whole, top, left, height, width, [32, 32], MODES[interpolation], antialias=True
        )
        if view.flip:
            expected = functional.horizontal_flip(expected)
        expected = functional.adjust_brightness(expected, view.brightness)
        expected = functional.adjust_contrast(expected, view.contrast)
        expected = functional.adjust_saturation(expected, view.saturation)
        made = apply_view(pixels, view, spec(32, "shortest", interpolation))
        assert made.dtype == torch.uint8
        assert made.is_contiguous()
        # The memory layout decides which of torchvision's uint8 kernels runs; they may round differently.
        assert (made.int() - expected.int()).abs().max() <= 2


def test_student_and_teacher_of_other_sizes_see_the_same_part() -> None:
    ramp = np.zeros((60, 90, 3), dtype=np.uint8)
    ramp[..., 0] = np.linspace(0, 255, 90).astype(np.uint8)[None, :]
    ramp[..., 1] = np.linspace(0, 255, 60).astype(np.uint8)[:, None]
    for number in range(8):
        view = view_parameters(Augmentation(crop_scale=(0.2, 0.6), horizontal_flip=0.5), 0, "sample", number)
        small = apply_view(ramp, view, spec(16, interpolation="bilinear")).float()
        large = apply_view(ramp, view, spec(64, "squash", "bilinear")).float()
        reduced = large.reshape(3, 16, 4, 16, 4).mean((2, 4))
        assert (small - reduced).abs().max() < 6


def test_the_pictures_own_pixels_stay_as_they_are() -> None:
    pixels = picture(40, 40)
    before = pixels.copy()
    made = apply_view(pixels, View(crop=Crop(1.0, 1.0, 0.0, 0.0)), spec(40))
    made.zero_()
    apply_view(pixels, None, spec(40)).zero_()
    assert np.array_equal(pixels, before)
