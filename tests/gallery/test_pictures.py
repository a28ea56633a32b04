"""Thumbnails and vectors of pictures."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from compressor.errors import BadImageError
from compressor.gallery import NewItem, embed
from compressor.gallery.pictures import decode, pictured
from compressor.runtime.bundle import Bundle
from tests.gallery.world import picture

ROTATED = Image.Exif()
ROTATED[0x0112] = 6  # turn by 90 degrees to see it upright


def test_a_thumbnail_is_upright_and_small_and_carries_no_exif() -> None:
    data = picture(size=(600, 300), format="JPEG", exif=ROTATED)
    kept = pictured(NewItem("a", data))
    assert (kept.width, kept.height) == (300, 600)
    assert kept.sha256 == hashlib.sha256(data).hexdigest()
    with Image.open(io.BytesIO(kept.thumbnail)) as small:
        assert (small.format, small.size) == ("JPEG", (128, 256))
        assert not small.getexif()


def test_a_small_picture_is_not_enlarged() -> None:
    with Image.open(io.BytesIO(pictured(NewItem("a", picture())).thumbnail)) as small:
        assert small.size == (20, 12)


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(BadImageError):
        pictured(NewItem("a", b"no picture"))


@pytest.mark.parametrize("given", [False, True])
def test_vectors_are_those_of_the_runtime_also_of_rotated_files(bundle: Bundle, given: bool) -> None:
    files = [picture(1), picture(2, (60, 40), "JPEG", exif=ROTATED)]
    items = [NewItem(str(n), data, picture=decode(data) if given else None) for n, data in enumerate(files)]
    np.testing.assert_array_equal(embed(bundle, items), bundle.encode_images(files))


def test_a_bad_picture_is_a_row_of_nan_and_leaves_its_neighbours_alone(bundle: Bundle) -> None:
    items = [NewItem("a", picture(1)), NewItem("b", b"bad"), NewItem("c", picture(2))]
    rows = embed(bundle, items, batch_size=2)
    assert np.isnan(rows[1]).all()
    np.testing.assert_allclose(rows[[0, 2]], bundle.encode_images([picture(1), picture(2)]), atol=1e-6)
