"""The comparison that guards converted preprocessing must itself be able to fail."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from compressor.errors import ModelError
from compressor.preprocess.image import normalize, resize_image
from compressor.preprocess.spec import Clean, ImageSpec
from compressor.preprocess.text import clean_text
from compressor.preprocess.tokenizers import clip_tokenizer
from compressor.teachers.comparison import check_pixels, convert_text, sample_pictures

SPEC = ImageSpec(size=24, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


@pytest.mark.parametrize("clean", ["none", "lower", "whitespace", "clip", "canonicalize", "siglip"])
def test_the_cleaning_is_found_that_the_teacher_uses(clean: Clean) -> None:
    tokenizer, spec = clip_tokenizer(20)

    def own(texts: Sequence[str]) -> np.ndarray:
        return tokenizer([clean_text(text, clean) for text in texts])

    assert convert_text(tokenizer, spec, own, "teacher").clean == clean


def test_other_ids_are_refused_with_the_text() -> None:
    tokenizer, spec = clip_tokenizer(20)

    def own(texts: Sequence[str]) -> np.ndarray:
        ids = tokenizer([clean_text(text, "clip") for text in texts])
        ids[1, 1] += 1
        return ids

    with pytest.raises(ModelError, match="Two CHILDREN, one in a red coat"):
        convert_text(tokenizer, spec, own, "teacher")


@pytest.mark.parametrize(
    "other",
    [
        SPEC.model_copy(update={"resize": "squash"}),
        SPEC.model_copy(update={"interpolation": "nearest"}),
        SPEC.model_copy(update={"mean": (0.48, 0.4, 0.3)}),
        SPEC.model_copy(update={"std": (0.2, 0.3, 0.3)}),
        SPEC.model_copy(update={"size": 25}),
    ],
)
def test_any_other_transform_is_refused(other: ImageSpec) -> None:
    def own(picture: Image.Image) -> np.ndarray:
        return normalize(resize_image(picture, other), other)

    with pytest.raises(ModelError, match="teacher"):
        check_pixels(SPEC, own, "teacher")


def test_the_same_transform_passes_without_a_difference() -> None:
    assert check_pixels(SPEC, lambda picture: normalize(resize_image(picture, SPEC), SPEC), "teacher") < 1e-4
    assert len({picture.size for picture in sample_pictures()}) == 3
