from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from compressor.errors import BadImageError, DataError
from compressor.export.samples import CalibrationSamples, ParitySamples
from tests.export.toys import LENGTH, SIZE, Pairs, pictures, toy_preprocessor


def test_samples_are_spread_over_the_rows_that_decode() -> None:
    pairs, preprocessor = Pairs(pictures(20)), toy_preprocessor()
    kept = [index for index in range(20) if index != 10]
    samples = ParitySamples.of_pairs(pairs, kept, preprocessor, 4)
    expected = preprocessor.images([pairs.images[index] for index in (0, 4, 9, 15)])
    np.testing.assert_array_equal(samples.pixel_values, expected)
    assert samples.input_ids.shape == (4, LENGTH)


def test_captions_of_the_cosine_samples_are_all_different() -> None:
    pairs, preprocessor = Pairs(pictures(48)), toy_preprocessor()
    assert len({caption for row in pairs.rows for caption in row.captions}) == 48
    samples = ParitySamples.of_pairs(pairs, range(48), preprocessor, 64)
    assert len(np.unique(samples.input_ids, axis=0)) == len(samples.input_ids) == 48


def test_recall_set_holds_every_caption_with_its_image_and_can_be_read_twice() -> None:
    pairs, preprocessor = Pairs(pictures(40)), toy_preprocessor()
    recall = ParitySamples.of_pairs(pairs, range(40), preprocessor, 8, recall_images=35).recall
    assert recall is not None
    assert recall.images == 35
    assert recall.text_to_image.tolist() == [image for image in range(35) for _ in range(2)]
    for _ in range(2):
        batches = list(recall.pixel_batches())
        assert [len(batch) for batch in batches] == [32, 3]
        assert batches[0].shape[1:] == (3, SIZE, SIZE)
    np.testing.assert_array_equal(recall.input_ids[:2], preprocessor.texts(pairs.rows[0].captions))


@pytest.mark.parametrize(("images", "captions_each"), [(1, 2), (5, 0)])
def test_too_few_samples_are_refused(images: int, captions_each: int) -> None:
    pairs = Pairs(pictures(images), captions_each=captions_each)
    with pytest.raises(DataError, match="fewer than two of each"):
        ParitySamples.of_pairs(pairs, range(images), toy_preprocessor(), 8)


def test_calibration_pairs_are_spread_and_preprocessed_as_served() -> None:
    pairs, preprocessor = Pairs(pictures(20), split="train"), toy_preprocessor()
    samples = CalibrationSamples.of_pairs(pairs, preprocessor, 4)
    expected = preprocessor.images([pairs.images[index] for index in (0, 5, 10, 15)])
    np.testing.assert_array_equal(samples.of("image"), expected)
    np.testing.assert_array_equal(samples.of("text")[:1], preprocessor.texts(pairs.rows[0].captions[:1]))


def test_pictures_that_do_not_decode_are_no_calibration_samples() -> None:
    class Torn(Pairs):
        def image(self, index: int) -> Image.Image:
            if index % 2:
                raise BadImageError("torn")
            return super().image(index)

    preprocessor = toy_preprocessor()
    assert len(CalibrationSamples.of_pairs(Torn(pictures(10)), preprocessor, 10).pixel_values) == 5
    with pytest.raises(DataError, match="the train split has no images or no captions to calibrate on"):
        CalibrationSamples.of_pairs(Pairs(pictures(3), "train", captions_each=0), preprocessor, 3)
