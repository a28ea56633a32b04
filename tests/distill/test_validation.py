"""Retrieval quality during training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from compressor.data.decoded import DecodedImages
from compressor.distill import validation
from compressor.distill.validation import Validation
from compressor.errors import DataError
from compressor.evaluate.retrieval import retrieval
from tests.distill.world import Pictures, World, build_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    return build_world(tmp_path)


def test_figures_are_those_of_the_models_own_preprocessing(world: World) -> None:
    check = Validation(world.pairs, world.rows.decoded, world.student.preprocessor, batch_size=7)
    encoder = world.student.encoder.eval()
    figures = check(encoder)
    pictures = [world.rows.decoded[k] for k in range(24)]
    from PIL import Image

    pixels = world.student.preprocessor.images([Image.fromarray(p) for p in pictures])
    captions = [caption for row in world.pairs.rows for caption in row.captions]
    owner = [i for i, row in enumerate(world.pairs.rows) for _ in row.captions]
    with torch.no_grad():
        image = encoder.encode_image(torch.from_numpy(pixels)).numpy()
        text = encoder.encode_text(torch.from_numpy(world.student.preprocessor.texts(captions))).numpy()
    expected = retrieval(image, text, np.array(owner)).quality()
    assert figures["rsum"] == pytest.approx(expected.rsum)
    assert figures["t2i_r5"] == pytest.approx(expected.t2i_r5)


def test_large_splits_are_prepared_anew_each_time_with_the_same_result(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = world.student.encoder.eval()
    kept = Validation(world.pairs, world.rows.decoded, world.student.preprocessor)
    first, second = kept(encoder), kept(encoder)
    monkeypatch.setattr(validation, "KEPT_PIXELS_BYTES", 0)
    assert Validation(world.pairs, world.rows.decoded, world.student.preprocessor)(encoder) == first == second


def test_a_split_without_captions_is_refused(tmp_path: Path) -> None:
    world = build_world(tmp_path)
    silent = Pictures(6, captions=[[]] * 6)
    decoded = DecodedImages.build(silent, 32, tmp_path / "silent")
    with pytest.raises(DataError, match="has no captions"):
        Validation(silent, decoded, world.student.preprocessor)
