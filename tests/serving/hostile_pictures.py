"""Files that are no pictures, hardly pictures, or far too much of one."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.serving.hostile import Hostile, posted

MOST_PIXELS = 1_000_000
_FINE, _BAD, _UNKNOWN, _LARGE = 200, 400, 415, 413


def pictures() -> Iterator[Hostile]:
    """Each as the body of `/encode/image`."""
    for name, content, allowed in (*_cut(), *_changed(), *_unusual(), *_bombs(), *_foreign()):
        yield posted(f"picture: {name}", "/encode/image", content, *allowed, kind="image/png")


def saved(form: str, mode: str = "RGB", size: tuple[int, int] = (24, 16), **how: object) -> bytes:
    """A picture of noise as a file."""
    noise = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 4), np.uint8)
    image = Image.fromarray(noise, "RGBA").convert("RGB" if mode == "CMYK" else "RGBA").convert(mode)
    file = io.BytesIO()
    image.save(file, form, **how)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of PNG with a checksum that holds."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, rows: bytes, depth: int = 8, colour: int = 2, *more: bytes) -> bytes:
    """A PNG file that says what it likes of itself."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + b"".join(more)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


Case = tuple[str, bytes, tuple[int, ...]]


def _cut() -> Iterator[Case]:
    files = {
        "PNG": saved("PNG"),
        "JPEG": saved("JPEG"),
        "progressive JPEG": saved("JPEG", size=(64, 64), progressive=True),
        "GIF": saved("GIF", "P"),
        "WebP": saved("WEBP"),
        "BMP": saved("BMP"),
        "TIFF": saved("TIFF"),
        "PPM": saved("PPM"),
    }
    for name, file in files.items():
        for share in (0.02, 0.1, 0.5, 0.9):
            cut = file[: max(1, int(len(file) * share))]
            yield f"{name} cut at {share:.0%}", cut, (_FINE, _BAD, _UNKNOWN)
    yield "PNG without its last byte", files["PNG"][:-1], (_FINE, _BAD)
    yield "JPEG without its end mark", files["JPEG"][:-2], (_FINE, _BAD)


def _changed() -> Iterator[Case]:
    whole, jpeg = saved("PNG"), saved("JPEG", size=(64, 64))
    yield "PNG with another magic", b"\x88" + whole[1:], (_UNKNOWN,)
    yield (
        "PNG with a checksum that is wrong",
        whole.replace(b"IDAT", b"IDAT", 1)[:-20] + b"\0" * 20,
        (_FINE, _BAD),
    )
    yield "JPEG with rubbish behind it", jpeg + b"<?php rubbish ?>" * 50, (_FINE,)
    yield "JPEG with a ZIP behind it", jpeg + b"PK\x03\x04" + b"\0" * 100, (_FINE,)
    yield "JPEG of its first mark alone", b"\xff\xd8", (_BAD, _UNKNOWN)
    yield "JPEG of marks alone", b"\xff\xd8" + b"\xff" * 2000 + b"\xd9", (_BAD, _UNKNOWN)
    broken = bytearray(jpeg)
    broken[len(broken) // 2 :: 7] = b"\0" * len(broken[len(broken) // 2 :: 7])
    yield "JPEG with damage inside", bytes(broken), (_FINE, _BAD)
    tables = bytearray(jpeg)
    tables[20:60] = b"\xaa" * 40
    yield "JPEG with tables of rubbish", bytes(tables), (_FINE, _BAD, _UNKNOWN, _LARGE)
    exif = saved("JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\xee" * 64)
    yield "JPEG with EXIF of rubbish", exif, (_FINE, _BAD)
    for value in (0, 9, 65535):
        turned = (
            b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + struct.pack("<I", value) + b"\0\0\0\0"
        )
        yield f"JPEG with orientation {value}", saved("JPEG", exif=turned), (_FINE,)
    texts = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0abc\0\0\0\0\0"
    yield "JPEG with an orientation that is text", saved("JPEG", exif=texts), (_FINE,)
    yield "JPEG with a colour profile of rubbish", saved("JPEG", icc_profile=b"\xfe" * 500), (_FINE, _BAD)
    yield "PNG with a colour profile of rubbish", saved("PNG", icc_profile=b"\xfe" * 500), (_FINE, _BAD)
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(b"\0" * 20_000_000))
    yield "PNG with a colour profile that swells", png(1, 1, b"\0\0\0\0", 8, 2, profile), (_FINE, _BAD)
    text = chunk(b"zTXt", b"x\0\0" + zlib.compress(b"a" * 100_000_000))
    yield "PNG with a text that swells", png(1, 1, b"\0\0\0\0", 8, 2, text), (_FINE, _BAD)
    yield "interlaced PNG, damaged", _interlaced(), (_FINE, _BAD)
    yield "PNG with rows of an unknown filter", png(4, 4, b"\x63" * 52), (_FINE, _BAD)


def _interlaced() -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 1))
    rows = chunk(b"IDAT", zlib.compress(b"\0" * 20))
    return b"\x89PNG\r\n\x1a\n" + head + rows + chunk(b"IEND", b"")


def _unusual() -> Iterator[Case]:
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        yield f"PNG of mode {mode}", saved("PNG", mode), (_FINE,)
    yield "palette with transparency", saved("PNG", "P", transparency=0), (_FINE,)
    yield "JPEG of CMYK", saved("JPEG", "CMYK"), (_FINE,)
    yield "TIFF of CMYK", saved("TIFF", "CMYK"), (_FINE,)
    yield "TIFF of floats", saved("TIFF", "F"), (_FINE,)
    yield "one pixel wide", saved("PNG", size=(1, 3000)), (_FINE,)
    yield "one pixel high", saved("PNG", size=(3000, 1)), (_FINE,)
    yield "one pixel", saved("PNG", size=(1, 1)), (_FINE,)
    frames = [Image.new("RGB", (8, 8), (k, 0, 0)) for k in range(50)]
    for form in ("GIF", "WEBP", "PNG", "TIFF"):
        file = io.BytesIO()
        frames[0].save(file, form, save_all=True, append_images=frames[1:])
        yield f"{form} of 50 frames", file.getvalue(), (_FINE,)
    file = io.BytesIO()
    frames[0].save(file, "MPO", save_all=True, append_images=frames[1:3])
    yield "MPO", file.getvalue(), (_FINE, _UNKNOWN)
    upside = bytearray(saved("BMP"))
    upside[22:26] = struct.pack("<i", -16)
    yield "BMP of negative height", bytes(upside), (_FINE, _BAD)
    wide = bytearray(saved("BMP"))
    wide[18:22] = struct.pack("<i", -24)
    yield "BMP of negative width", bytes(wide), (_FINE, _BAD, _UNKNOWN, _LARGE)


def _bombs() -> Iterator[Case]:
    file = io.BytesIO()
    Image.new("1", (9000, 9000)).save(file, "PNG")
    yield "PNG of 81,000,000 pixels", file.getvalue(), (_LARGE,)
    file = io.BytesIO()
    Image.new("RGB", (1000, 1000)).save(file, "PNG")
    yield "PNG of as many pixels as may be", file.getvalue(), (_FINE,)
    for width, height in ((2**31 - 1, 2**31 - 1), (100_000, 1), (65_535, 65_535), (1, 2_000_000)):
        yield f"PNG that says {width} x {height}", png(width, height, b"\0"), (_LARGE, _BAD)
    yield "PNG that says 0 x 0", png(0, 0, b"\0"), (_BAD, _UNKNOWN)
    yield "PNG that says 2^32 - 1", png(2**32 - 1, 1, b"\0"), (_LARGE, _BAD, _UNKNOWN)
    yield "PNG of fewer rows than it says", png(100, 100, b"\0" * 301), (_FINE, _BAD)
    yield "PNG of more rows than it says", png(2, 2, b"\0" * 1_000_000), (_FINE, _BAD)
    yield "PNG of depth 99", png(2, 2, b"\0" * 100, 99), (_BAD, _UNKNOWN)
    screen = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0)
    yield "GIF that says 65535 x 65535", screen + b",\0\0\0\0\1\0\1\0\0\2\2L\1\0;", (_LARGE,)
    yield "GIF without a frame", screen[:6] + b"\1\0\1\0\0\0\0;", (_BAD, _UNKNOWN)
    large = b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\3\1\x11\0\2\x11\0\3\x11\0\xff\xda"
    yield "JPEG that says 65535 x 65535", large, (_LARGE, _BAD, _UNKNOWN)
    yield "PPM that says much", b"P6 99999999 99999999 255\n", (_LARGE, _BAD)
    yield "PPM with a number without end", b"P6 " + b"9" * 5000 + b" 1 255\n", (_BAD, _UNKNOWN)
    yield "PPM of negative size", b"P6 -5 5 255\n", (_BAD, _UNKNOWN)
    extended = b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0\xff\xff\xff\xff\xff\xff\0\0\0\0"
    yield "WebP that says 16777216 a side", extended, (_LARGE, _BAD, _UNKNOWN)


def _foreign() -> Iterator[Case]:
    loop = b"II*\0\x08\0\0\0\1\0\0\1\3\0\1\0\0\0\1\0\0\0\x08\0\0\0"
    yield "TIFF whose directory is its own next", loop, (_BAD, _UNKNOWN)
    yield "TIFF that points out of itself", b"II*\0\xff\xff\xff\x7f", (_BAD, _UNKNOWN)
    yield "TIFF of 65,535 entries", b"MM\0*\0\0\0\x08\xff\xff" + b"\x01" * 2000, (_BAD, _UNKNOWN)
    yield "SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', (_UNKNOWN,)
    entity = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><svg>&b;</svg>'
    yield "SVG with an entity", entity, (_UNKNOWN,)
    yield "HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40, (_UNKNOWN,)
    yield "AVIF", b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + b"\0" * 40, (_UNKNOWN,)
    yield "PDF", b"%PDF-1.7\n1 0 obj\n<< >>\nendobj\n", (_UNKNOWN,)
    yield "ZIP", b"PK\x03\x04" + b"\0" * 60, (_UNKNOWN,)
    yield "PSD", b"8BPS\0\1" + b"\0" * 60, (_UNKNOWN,)
    yield "ICO", saved("ICO", size=(16, 16)), (_UNKNOWN,)
    yield "EPS", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (r) file\n", (_UNKNOWN,)
    yield "JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 40, (_UNKNOWN,)
    yield "a script", b"#!/bin/sh\nid\n", (_UNKNOWN,)
    yield "text", b"a red circle", (_UNKNOWN,)
    yield "a page", b"<!DOCTYPE html><html></html>", (_UNKNOWN,)
    yield "nothing", b"", (_BAD,)
    yield "NULs", b"\0" * 100_000, (_UNKNOWN,)
    yield "noise", np.random.default_rng(5).bytes(100_000), (_UNKNOWN,)
