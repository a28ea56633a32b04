"""Thirty training rows, what their student and their teacher read, and training sets over them."""

from __future__ import annotations

from typing import Any

import pytest

from compressor.data.decoded import DecodedImages
from compressor.data.loader import TrainingSet
from compressor.preprocess.preprocessor import Preprocessor
from compressor.recipe.data import ScenesData
from compressor.recipe.training import Augmentation
from tests.data.training_rows import PLAIN, ROWS, Maker, SomeWithoutCaptions, preprocessor


@pytest.fixture(scope="module")
def pairs() -> SomeWithoutCaptions:
    return SomeWithoutCaptions(ScenesData(kind="scenes", train=ROWS, image_size=48))


@pytest.fixture(scope="module")
def decoded(pairs: SomeWithoutCaptions, tmp_path_factory: pytest.TempPathFactory) -> DecodedImages:
    return DecodedImages.build(pairs, 48, tmp_path_factory.mktemp("cache") / "decoded")


@pytest.fixture(scope="module")
def student(pairs: SomeWithoutCaptions) -> Preprocessor:
    """What the student reads."""
    return preprocessor(pairs, 32, 40, 300)


@pytest.fixture(scope="module")
def teacher(pairs: SomeWithoutCaptions) -> Preprocessor:
    """What the teacher reads: larger pictures, other tokens."""
    return preprocessor(pairs, 56, 24, 400)


@pytest.fixture(scope="module")
def training_set(pairs: SomeWithoutCaptions, decoded: DecodedImages, student: Preprocessor) -> Maker:
    def make(augmentation: Augmentation = PLAIN, seed: int = 0, **options: Any) -> TrainingSet:
        return TrainingSet(pairs, decoded, student, augmentation, seed, **options)

    return make
