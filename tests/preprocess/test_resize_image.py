"""The geometry and the normalisation are those of the transforms that the teachers were trained with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torchvision import transforms

from compressor.preprocess.image import decode_image, normalize, resize_image
from compressor.preprocess.spec import ImageSpec

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def pixels_of(picture: Image.Image, spec: ImageSpec) -> np.ndarray:
    return normalize(resize_image(picture, spec), spec)


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 160),
    height=st.integers(1, 160),
    size=st.integers(1, 64),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
    resize=st.sampled_from(["shortest", "squash", "pad"]),
)
def test_pixels_equal_open_clips(width: int, height: int, size: int, interpolation: str, resize: str) -> None:
    if resize == "shortest" and max(width, height) / min(width, height) > 16:
        return  # resized inside the crop only; its own test is below
    if resize == "pad" and round(min(width, height) / (max(width, height) / size)) < 1:
        return  # open_clip fails where the shorter side rounds to zero
    names = {"shortest": "shortest", "squash": "squash", "pad": "longest"}
    config = PreprocessCfg(size=size, interpolation=interpolation, resize_mode=names[resize])
    picture = noise(width, height)
    expected = image_transform_v2(config, is_train=False)(picture).numpy()
    spec = ImageSpec(size=size, resize=resize, interpolation=interpolation, mean=MEAN, std=STD)
    np.testing.assert_array_equal(pixels_of(picture, spec), expected)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("shape", [(640, 427), (427, 640), (500, 375), (333, 500), (224, 224), (100, 81)])
def test_photo_shapes_equal_torchvision(shape: tuple[int, int], interpolation: str) -> None:
    mode = transforms.InterpolationMode[interpolation.upper()]
    transform = transforms.Compose(
        [
            transforms.Resize(224, interpolation=mode, antialias=True),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    picture = noise(*shape)
    spec = ImageSpec(size=224, interpolation=interpolation, mean=MEAN, std=STD)
    np.testing.assert_array_equal(pixels_of(picture, spec), transform(picture).numpy())


@pytest.mark.parametrize("shape", [(900, 40), (40, 900), (701, 13)])
def test_long_pictures_equal_the_crop_of_the_whole_resize(shape: tuple[int, int]) -> None:
    picture = noise(*shape)
    spec = ImageSpec(size=32, mean=MEAN, std=STD)
    whole = transforms.CenterCrop(32)(transforms.Resize(32, transforms.InterpolationMode.BICUBIC)(picture))
    difference = np.abs(resize_image(picture, spec).astype(int) - np.asarray(whole).astype(int))
    assert difference.max() <= 1


def test_a_line_of_pixels_does_not_exhaust_the_memory() -> None:
    spec = ImageSpec(size=224, mean=MEAN, std=STD)  # resized as a whole it would have 3 billion pixels
    assert resize_image(Image.new("RGB", (60_000, 1), (9, 8, 7)), spec).tolist()[0][0] == [9, 8, 7]


def test_arrays_and_pictures_give_the_same() -> None:
    picture = noise(50, 70)
    spec = ImageSpec(size=32, mean=MEAN, std=STD)
    np.testing.assert_array_equal(resize_image(np.asarray(picture), spec), resize_image(picture, spec))


def test_pad_centres_the_picture_on_black() -> None:
    spec = ImageSpec(size=8, resize="pad", mean=MEAN, std=STD)
    pixels = resize_image(Image.new("RGB", (40, 20), (255, 255, 255)), spec)
    assert pixels[:2].max() == 0
    assert pixels[6:].max() == 0
    assert pixels[2:6].min() == 255


def test_normalize_follows_its_definition() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    spec = ImageSpec(size=5, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    result = normalize(pixels, spec)
    assert result.dtype == np.float32
    assert result.shape == (3, 5, 7)
    for row in range(5):
        for column in range(7):
            for channel in range(3):
                expected = (pixels[row, column, channel] / 255.0 - spec.mean[channel]) / spec.std[channel]
                assert result[channel, row, column] == pytest.approx(expected, abs=1e-6)


def test_the_decoded_picture_is_what_torchvision_would_see() -> None:
    picture = noise(30, 40)
    assert torch.equal(transforms.ToTensor()(decode_image(picture)), transforms.ToTensor()(picture))
