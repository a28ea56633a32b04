"""Whatever the bytes are, they become upright RGB or one `BadImageError`."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from compressor.errors import BadImageError
from compressor.preprocess.image import MAX_SIDE, decode_image

# Pillow warns of what is wrong with a file before it raises.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 40, height: int = 30) -> Image.Image:
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack(
        [columns * 255 // (width - 1), rows * 255 // (height - 1), np.full_like(rows, 90)], axis=-1
    )
    return Image.fromarray(pixels.astype(np.uint8))


def png_header(width: int, height: int, body: bytes = b"") -> bytes:
    """A PNG with any header, and `body` as its compressed pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_keep_every_pixel(kind: str) -> None:
    decoded = decode_image(encoded(gradient(), kind))
    assert decoded.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(decoded), np.asarray(gradient()))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_lossy_formats_come_close(kind: str) -> None:
    decoded = decode_image(encoded(gradient(), kind))
    difference = np.abs(np.asarray(decoded).astype(int) - np.asarray(gradient()).astype(int))
    assert decoded.mode == "RGB"
    assert difference.mean() < 12


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(BadImageError, match="0 bytes"):
        decode_image(b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_a_truncated_file_is_refused(kind: str) -> None:
    rng = np.random.default_rng(0)
    whole = encoded(Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)), kind)
    with pytest.raises(BadImageError):
        decode_image(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    "data",
    [
        b"this is a text file that someone named photo.jpg\n" * 20,
        b"<svg xmlns='http://www.w3.org/2000/svg' width='10' height='10'><rect/></svg>",
        b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(200),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"RIFF\x00\x00\x00\x00WEBP",
    ],
    ids=["text", "svg", "heic", "eps", "pdf", "jpeg start", "png start", "gif start", "webp start"],
)
def test_what_is_no_supported_image_is_refused(data: bytes) -> None:
    with pytest.raises(BadImageError):
        decode_image(data)


def test_formats_outside_the_list_are_refused_though_pillow_reads_them() -> None:
    for kind in ("ICO", "TGA", "PCX", "SGI"):
        with pytest.raises(BadImageError, match="supported format"):
            decode_image(encoded(gradient(32, 32), kind))


def test_a_picture_100000_pixels_wide_is_refused_from_its_header() -> None:
    with pytest.raises(BadImageError, match=f"100000 x 1 pixels.*{MAX_SIDE:,}"):
        decode_image(png_header(100_000, 1))


def test_a_small_file_with_a_huge_picture_is_refused_before_decoding() -> None:
    bomb = png_header(12_000, 12_000, zlib.compress(bytes(12_000 * 12_001 // 8), 9))
    assert len(bomb) < 40_000
    with pytest.raises(BadImageError, match="12000 x 12000"):
        decode_image(bomb)


@pytest.mark.parametrize("side", [14_000, 60_000])
def test_beyond_pillows_own_limit_the_error_is_ours_too(side: int) -> None:
    with pytest.raises(BadImageError, match="pixels"):
        decode_image(png_header(side, side))


def test_max_pixels_counts_pictures_in_memory_too() -> None:
    assert decode_image(Image.new("RGB", (10, 10)), max_pixels=100).size == (10, 10)
    with pytest.raises(BadImageError, match="10 x 11"):
        decode_image(Image.new("RGB", (10, 11)), max_pixels=100)


def test_cmyk_becomes_rgb() -> None:
    cmyk = gradient().convert("CMYK")
    decoded = np.asarray(decode_image(encoded(cmyk, "JPEG", quality=95))).astype(int)
    assert np.abs(decoded - np.asarray(gradient()).astype(int)).mean() < 6


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    values = np.linspace(0, 65_535, 64, dtype=np.uint16).reshape(8, 8)
    for kind in ("PNG", "TIFF"):
        decoded = np.asarray(decode_image(encoded(Image.fromarray(values), kind)))
        np.testing.assert_array_equal(decoded[..., 0], np.rint(values / 257.0).astype(np.uint8))
        np.testing.assert_array_equal(decoded[..., 0], decoded[..., 2])


def test_16_bit_pgm_is_scaled_not_clipped() -> None:
    values = np.linspace(0, 65_535, 16, dtype=np.uint16)
    data = b"P5\n4 4\n65535\n" + values.astype(">u2").tobytes()
    decoded = np.asarray(decode_image(data))[..., 0].reshape(-1)
    np.testing.assert_array_equal(decoded, np.rint(values / 257.0).astype(np.uint8))


def test_floats_are_stretched_and_nan_is_refused() -> None:
    values = np.array([[-1.0, 0.0], [1.0, 3.0]], dtype=np.float32)
    decoded = np.asarray(decode_image(encoded(Image.fromarray(values), "TIFF")))[..., 0]
    np.testing.assert_array_equal(decoded, [[0, 64], [128, 255]])
    values[0, 0] = np.nan
    with pytest.raises(BadImageError, match="not finite"):
        decode_image(encoded(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize(("mode", "clear"), [("RGBA", (200, 10, 10, 0)), ("LA", (50, 0))])
def test_transparent_pixels_are_white(mode: str, clear: tuple[int, ...]) -> None:
    image = Image.new(mode, (4, 4), clear)
    opaque = (*clear[:-1], 255)
    image.putpixel((1, 2), opaque)
    decoded = decode_image(encoded(image, "PNG"))
    assert decoded.getpixel((0, 0)) == (255, 255, 255)
    assert decoded.getpixel((1, 2)) == (opaque[:3] if mode == "RGBA" else (50, 50, 50))


def test_half_transparent_pixels_are_mixed_with_white() -> None:
    decoded = decode_image(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 128)), "PNG"))
    assert decoded.getpixel((0, 0)) == (127, 127, 127)


def test_palette_transparency_is_white() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((3, 3), 1)
    decoded = decode_image(encoded(image, "PNG", transparency=0))
    assert decoded.getpixel((0, 0)) == (255, 255, 255)
    assert decoded.getpixel((3, 3)) == (40, 50, 60)


def test_one_colour_declared_transparent_is_white() -> None:
    image = Image.new("RGB", (4, 4), (1, 2, 3))
    image.putpixel((0, 0), (9, 9, 9))
    decoded = decode_image(encoded(image, "PNG", transparency=(1, 2, 3)))
    assert decoded.getpixel((0, 0)) == (9, 9, 9)
    assert decoded.getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    decoded = np.asarray(decode_image(data)).astype(int)
    assert np.abs(decoded - [250, 0, 0]).max() < 10


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(kind: str, orientation: int) -> None:
    upright = gradient(40, 24)
    # Row and column 0 of the stored picture, as the EXIF standard names them: the inverse of each correction.
    stored = {
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    decoded = decode_image(encoded(stored, kind, exif=exif, **lossless))
    assert decoded.size == upright.size
    difference = np.abs(np.asarray(decoded).astype(int) - np.asarray(upright).astype(int))
    assert difference.mean() < (3 if kind == "JPEG" else 0.01)


def test_a_broken_exif_block_does_not_lose_the_picture() -> None:
    data = encoded(gradient(), "PNG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff broken")
    np.testing.assert_array_equal(np.asarray(decode_image(data)), np.asarray(gradient()))


def test_pictures_in_memory_are_converted_alike() -> None:
    assert decode_image(Image.new("1", (3, 3), 1)).getpixel((0, 0)) == (255, 255, 255)
    assert decode_image(Image.new("RGBA", (3, 3), (0, 0, 0, 0))).getpixel((0, 0)) == (255, 255, 255)
    with pytest.raises(BadImageError, match="no pixels"):
        decode_image(Image.new("RGB", (0, 5)))


STARTS = [
    b"",
    encoded(gradient(8, 8), "PNG"),
    encoded(gradient(8, 8), "JPEG"),
    encoded(gradient(8, 8), "WEBP"),
    encoded(gradient(8, 8), "GIF"),
    encoded(gradient(8, 8), "TIFF"),
    encoded(gradient(8, 8), "BMP"),
    b"P6 8 8 255\n",
]


@settings(max_examples=300, deadline=None)
@given(start=st.sampled_from(STARTS), noise=st.binary(max_size=64), where=st.integers(0, 400), data=st.data())
def test_arbitrary_bytes_raise_nothing_but_bad_image(
    start: bytes, noise: bytes, where: int, data: st.DataObject
) -> None:
    """Noise written into valid files reaches every parser."""
    cut = data.draw(st.integers(0, len(start)))
    damaged = (start[:where] + noise + start[where + len(noise) :])[: len(start) + len(noise) - cut // 4]
    with suppress(BadImageError):
        assert decode_image(damaged, max_pixels=1_000_000).mode == "RGB"
