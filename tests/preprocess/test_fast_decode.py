"""Large pictures reduced coarsely first: nearly the same pixels, the same rules, nothing else touched."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from compressor.errors import BadImageError
from compressor.preprocess import ImageSpec
from compressor.preprocess.image import decode_image
from compressor.preprocess.preprocessor import FAST_DECODE_MARGIN, ImagePreprocessor

SPEC = ImageSpec(size=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def photo(width: int, height: int) -> Image.Image:
    """Soft patches of colour."""
    noise = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 92} if kind == "JPEG" else {}), **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("size", "least_side", "decoded"),
    [
        ((640, 480), 480, (640, 480)),
        ((640, 480), 240, (320, 240)),
        ((640, 480), 241, (640, 480)),
        ((640, 480), 120, (160, 120)),
        ((640, 480), 1, (80, 60)),
        ((480, 644), 60, (120, 161)),
        ((480, 645), 60, (480, 645)),
        ((2049, 1536), 64, (2049, 1536)),
        ((64, 48), 500, (64, 48)),
    ],
)
def test_the_smallest_fraction_that_keeps_the_side(
    size: tuple[int, int], least_side: int, decoded: tuple[int, int]
) -> None:
    assert decode_image(encoded(photo(*size)), least_side=least_side).size == decoded


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(640, 480), (481, 777), (482, 776), (1000, 64), (2048, 1537), (4032, 3024)])
def test_pixels_are_nearly_those_of_the_whole_picture(size: tuple[int, int], kind: str) -> None:
    file = encoded(photo(*size), kind)
    whole, fast = (ImagePreprocessor(SPEC, fast).images([file])[0] for fast in (False, True))
    levels = np.abs(whole - fast) * 0.25 * 255
    assert levels.mean() < 0.7
    assert levels.max() < 10


def test_small_pictures_stay_exactly_as_they_are() -> None:
    file = encoded(photo(FAST_DECODE_MARGIN * 32, 100))
    whole, fast = (ImagePreprocessor(SPEC, fast).images([file]) for fast in (False, True))
    np.testing.assert_array_equal(whole, fast)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM"])
def test_other_formats_are_decoded_whole(kind: str) -> None:
    assert decode_image(encoded(photo(640, 480), kind), least_side=10).size == (640, 480)


def test_a_picture_that_was_given_open_is_left_alone() -> None:
    picture = Image.open(io.BytesIO(encoded(photo(640, 480))))
    assert ImagePreprocessor(SPEC, fast_decode=True).images([picture]).shape == (1, 3, 32, 32)
    assert picture.size == (640, 480)


def test_turned_pictures_are_turned_all_the_same() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_image(encoded(photo(640, 480), exif=exif), least_side=240).size == (240, 320)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_become_rgb(mode: str) -> None:
    decoded = decode_image(encoded(photo(640, 480).convert(mode)), least_side=240)
    assert (decoded.mode, decoded.size) == ("RGB", (320, 240))


def test_the_limit_is_on_the_pixels_of_the_file() -> None:
    file = encoded(photo(640, 480))
    with pytest.raises(BadImageError, match="640 x 480 pixels: 100,000 are allowed"):
        decode_image(file, max_pixels=100_000, least_side=10)


def test_a_truncated_file_is_refused() -> None:
    file = encoded(photo(640, 480))
    with pytest.raises(BadImageError, match="cannot be decoded"):
        decode_image(file[: len(file) // 2], least_side=10)
