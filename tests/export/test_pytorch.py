from __future__ import annotations

import numpy as np
import pytest

from compressor.errors import BadImageError
from compressor.export.pytorch import embed_images, encode_in_batches
from tests.export.toys import WIDTH, captions, pictures, toy_model


def test_batches_do_not_change_the_embeddings() -> None:
    model = toy_model()
    whole = encode_in_batches(model.encoder, model.preprocessor, pictures(7), captions()[:5])
    parts = encode_in_batches(model.encoder, model.preprocessor, pictures(7), captions()[:5], batch_size=2)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert whole[0].shape == (7, WIDTH)
    assert whole[1].shape == (5, WIDTH)


def test_nothing_gives_no_rows() -> None:
    model = toy_model()
    images, texts = encode_in_batches(model.encoder, model.preprocessor, [], [])
    assert images.shape == texts.shape == (0, WIDTH)


def test_dropout_is_off_while_encoding_and_on_again_after() -> None:
    model = toy_model()
    encoder = model.encoder
    expected = embed_images(encoder, model.preprocessor.images(pictures(3)))
    encoder.train()  # type: ignore[attr-defined]
    found = embed_images(encoder, model.preprocessor.images(pictures(3)))
    np.testing.assert_array_equal(found, expected)
    assert encoder.dropout.training  # type: ignore[attr-defined]


def test_image_that_does_not_decode_is_reported() -> None:
    model = toy_model()
    with pytest.raises(BadImageError):
        encode_in_batches(model.encoder, model.preprocessor, [b"no image"], [])
