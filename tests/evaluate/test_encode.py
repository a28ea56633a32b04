from __future__ import annotations

import logging

import numpy as np
import pytest

from compressor.errors import DataError
from compressor.evaluate.encode import encode_pairs
from tests.evaluate.pairs import ColourEncoder, ColourPairs


def test_pictures_and_captions_keep_the_order_of_the_rows() -> None:
    encoder, told = ColourEncoder(), []
    encoded = encode_pairs(encoder, ColourPairs(), 4, lambda done, total: told.append((done, total)))
    assert encoded.ids == [row.id for row in ColourPairs().rows]
    assert encoded.text_to_image.tolist() == np.repeat(np.arange(6), 2).tolist()
    assert encoder.batches == [4, 2, 4, 4, 4]
    assert told == [(4, 18), (6, 18), (10, 18), (14, 18), (18, 18)]
    assert encoded.ranks().quality().rsum == 600
    assert encoded.bad == 0


def test_a_broken_picture_leaves_with_its_captions_and_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        encoded = encode_pairs(ColourEncoder(), ColourPairs(broken=frozenset({1})), 4, max_bad_fraction=0.2)
    assert encoded.ids == ["red.png", "blue.png", "yellow.png", "white.png", "violet.png"]
    assert len(encoded.text_embeds) == 10
    assert encoded.bad == 1
    assert encoded.reasons == {"green.png": "truncated"}
    assert "green.png" in caplog.text
    assert encoded.ranks().quality().rsum == 600


def test_too_many_broken_pictures_stop_the_measurement() -> None:
    with pytest.raises(DataError, match="1 of 6"):
        encode_pairs(ColourEncoder(), ColourPairs(broken=frozenset({1})), max_bad_fraction=0.01)


def test_what_cannot_be_measured_is_said() -> None:
    with pytest.raises(DataError, match="test split has no rows"):
        encode_pairs(ColourEncoder(), ColourPairs(names=()))
    with pytest.raises(DataError, match="no image of the test split has a caption"):
        encode_pairs(ColourEncoder(), ColourPairs(captions=0))
    with pytest.raises(DataError, match="none of the 6 images"):
        encode_pairs(ColourEncoder(), ColourPairs(broken=frozenset(range(6))), max_bad_fraction=1)
