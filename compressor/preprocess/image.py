"""From image bytes to normalised pixels, with Pillow and NumPy alone."""

from __future__ import annotations

import io
import logging
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from compressor.errors import BadImageError
from compressor.preprocess.spec import ImageSpec

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
MAX_PIXELS = 100_000_000
MAX_SIDE = 65_535
"""Longest side in pixels: JPEG's own limit, above which a picture is an attack or a mistake."""

_LOGGER = logging.getLogger(__name__)
_ORIENTATION_TAG = 0x0112
_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_LONGEST_FULL_RESIZE = 16
"""Resized pictures longer than so many sizes are resized inside the crop only, which bounds the memory."""


def decode_image(
    data: bytes | Image.Image, max_pixels: int = MAX_PIXELS, least_side: int | None = None
) -> Image.Image:
    """The first frame of an image as upright 8-bit RGB.

    EXIF rotation is applied, transparency is laid on white, CMYK, palette, grey and 16-bit pictures are
    converted (16 bits are scaled, not clipped; 32-bit integers and floats are stretched from their smallest
    to their largest value). Formats other than `FORMATS` are refused. The number of pixels is checked from
    the header before anything is decoded.

    `least_side`: a JPEG file (bytes) may be decoded at a half, a quarter or an eighth of its size, as long as
    its shorter side keeps so many pixels and the fraction divides both sides, as it does in what cameras
    write. libjpeg then computes fewer coefficients of each block: much less time and memory, and after
    resizing nearly the same picture.

    Raises:
        BadImageError: `data` is empty, truncated, no image, of another format, or larger than `max_pixels`
            or than `MAX_SIDE` a side.
    """
    if isinstance(data, Image.Image):
        return _to_upright_rgb(data, max_pixels)
    if len(data) == 0:
        raise BadImageError("the image is empty (0 bytes)")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise BadImageError(
            f"not an image in a supported format ({', '.join(FORMATS)})", "unknown_format"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImageError(
            f"the image has more pixels than the {max_pixels:,} that are allowed", "too_large"
        ) from error
    except Exception as error:  # decoders raise any class on hostile bytes, SyntaxError too
        raise BadImageError(f"the image header cannot be read: {_cause(error)}") from error
    with image:
        return _to_upright_rgb(image, max_pixels, least_side)


def _to_upright_rgb(image: Image.Image, max_pixels: int, least_side: int | None = None) -> Image.Image:
    width, height = image.size
    if width < 1 or height < 1:
        raise BadImageError(f"the image has no pixels ({width} x {height})")
    if max(width, height) > MAX_SIDE:
        raise BadImageError(
            f"the image is {width} x {height} pixels: a side may have {MAX_SIDE:,} at most", "too_large"
        )
    if width * height > max_pixels:
        raise BadImageError(
            f"the image is {width} x {height} pixels: {max_pixels:,} are allowed", "too_large"
        )
    try:
        if least_side is not None:
            _decode_at_a_fraction(image, least_side)
        image.load()
        rgb = _to_rgb(image)
    except BadImageError:
        raise
    except Exception as error:  # as above: the decoders' errors have no common class
        raise BadImageError(f"the image cannot be decoded: {_cause(error)}") from error
    method = _ORIENTATIONS.get(_orientation(image))
    return rgb if method is None else rgb.transpose(method)


def _decode_at_a_fraction(image: Image.Image, least_side: int) -> None:
    """Ask the decoder for the smallest picture that will do; formats other than JPEG have but one.

    A side that the fraction does not divide would be rounded up, and the picture be stretched. That bends it
    far more than the coarser decoding does: at 1/8 of 2,049 pixels 30 times as much.
    """
    for fraction in (8, 4, 2):
        (width, over), (height, below) = (divmod(side, fraction) for side in image.size)
        if not over and not below and min(width, height) >= least_side:
            image.draft(None, (width, height))
            return


def _cause(error: Exception) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 where there is none, or where only the EXIF block is broken.

    Read after loading: Pillow turns TIFF files itself and then drops the tag.
    """
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception as error:  # EXIF parsers raise any class on damaged blocks
        _LOGGER.debug("EXIF block ignored: %s", _cause(error))
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image  # `convert` would copy every pixel
    if image.mode.startswith("I;16"):
        return _scale_grey(image, 65_535.0)
    if image.mode == "I" and image.format in ("PNG", "PPM"):
        return _scale_grey(image, 65_535.0)
    if image.mode in ("I", "F"):
        return _stretch_grey(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _scale_grey(image: Image.Image, white: float) -> Image.Image:
    values = np.asarray(image).astype(np.float64)
    return _grey(values * (255.0 / white))


def _stretch_grey(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(low) or not np.isfinite(high):
        raise BadImageError("the image holds values that are not finite")
    return _grey((values - low) * (255.0 / (high - low)) if high > low else np.zeros_like(values))


def _grey(values: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8)).convert("RGB")


def resize_image(
    image: Image.Image | NDArray[np.uint8], spec: ImageSpec, reducing_gap: float | None = None
) -> NDArray[np.uint8]:
    """Resize, crop or pad an RGB picture (or its (H, W, 3) uint8 array) to (size, size, 3) uint8.

    Sizes and offsets are torchvision's: `Resize(size)` truncates the longer side, `CenterCrop` rounds half to
    even (or down, where the specification says so); `pad` is open_clip's `longest` mode. Resampling is
    Pillow's, as torchvision's is on pictures. `reducing_gap`: first average whole blocks of pixels, down to
    so many times the size that is wanted (`PIL.Image.Image.resize`), which is faster for large pictures and
    gives nearly the same.
    """
    picture = image if isinstance(image, Image.Image) else Image.fromarray(np.ascontiguousarray(image))
    if picture.mode != "RGB":
        picture = picture.convert("RGB")
    if spec.resize == "squash":
        resized = picture.resize(
            (spec.size, spec.size), _FILTERS[spec.interpolation], reducing_gap=reducing_gap
        )
    elif spec.resize == "pad":
        resized = _pad(picture, spec, reducing_gap)
    else:
        resized = _shortest(picture, spec, reducing_gap)
    return np.array(resized, dtype=np.uint8)


def _shortest(picture: Image.Image, spec: ImageSpec, reducing_gap: float | None) -> Image.Image:
    size, method = spec.size, _FILTERS[spec.interpolation]
    width, height = picture.size
    if width <= height:
        new_width, new_height = size, int(size * height / width)
    else:
        new_width, new_height = int(size * width / height), size
    place = math.floor if spec.crop_rounding == "floor" else round
    left, top = place((new_width - size) / 2.0), place((new_height - size) / 2.0)
    if max(new_width, new_height) <= _LONGEST_FULL_RESIZE * size:
        resized = picture.resize((new_width, new_height), method, reducing_gap=reducing_gap)
        return resized.crop((left, top, left + size, top + size))
    across, down = width / new_width, height / new_height
    box = (left * across, top * down, (left + size) * across, (top + size) * down)
    return picture.resize((size, size), method, box=box, reducing_gap=reducing_gap)


def _pad(picture: Image.Image, spec: ImageSpec, reducing_gap: float | None) -> Image.Image:
    size = spec.size
    ratio = max(picture.width / size, picture.height / size)
    width, height = (min(size, max(1, round(side / ratio))) for side in picture.size)
    canvas = Image.new("RGB", (size, size))
    resized = picture.resize((width, height), _FILTERS[spec.interpolation], reducing_gap=reducing_gap)
    canvas.paste(resized, ((size - width) // 2, (size - height) // 2))
    return canvas


def normalize(pixels: NDArray[np.uint8], spec: ImageSpec) -> NDArray[np.float32]:
    """(H, W, 3) uint8 -> (3, H, W) float32: `(pixel / 255 - mean) / std`, in torchvision's order of steps."""
    channels: NDArray[Any] = np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32)
    channels /= np.float32(255.0)
    channels -= np.asarray(spec.mean, dtype=np.float32)[:, None, None]
    channels /= np.asarray(spec.std, dtype=np.float32)[:, None, None]
    return channels
