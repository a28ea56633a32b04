"""Training rows as batches: pure functions of seed, row and epoch, whoever prepares them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compressor.data import loader
from compressor.data.augment import apply_view, view_parameters
from compressor.data.decoded import DecodedImages
from compressor.data.loader import TrainingSet, normalize_pixels
from compressor.preprocess.image import normalize, resize_image
from compressor.preprocess.preprocessor import ImagePreprocessor, Preprocessor, TextPreprocessor
from compressor.recipe.data import ScenesData
from compressor.recipe.training import Augmentation
from tests.data.training_rows import ALL, COLOUR, CROP, FLIP, PLAIN, ROWS, Maker, SomeWithoutCaptions


def test_a_batch_holds_the_rows_that_were_asked_for(training_set: Maker, student: Preprocessor) -> None:
    rows = training_set()
    batch = rows.batch([7, 0, 5], epoch=2)
    assert batch.index.tolist() == [7, 0, 5]
    assert batch.caption.tolist()[1:] == [-1, 0]
    assert batch.has_caption.tolist() == [True, False, True]
    assert batch.pixels.shape == (3, 3, 32, 32)
    assert batch.pixels.dtype == torch.uint8
    assert batch.input_ids.shape == (3, 40)
    assert batch.input_ids.dtype == batch.index.dtype == batch.caption.dtype == torch.int64
    chosen = rows.rows[7].captions[batch.caption[0]]
    assert np.array_equal(batch.input_ids[0].numpy(), student.texts([chosen])[0])
    assert batch.input_ids[1].tolist() == [student.text.pad_id] * 40
    assert batch.teachers == ()


def test_pixels_without_augmentation_are_the_plain_geometry(
    training_set: Maker, decoded: DecodedImages, student: Preprocessor
) -> None:
    rows = training_set()
    for epoch in (0, 3):
        batch = rows.batch(list(range(ROWS)), epoch)
        assert batch.view == 0
        for i in range(ROWS):
            assert np.array_equal(
                batch.pixels[i].numpy().transpose(1, 2, 0), resize_image(decoded[i], student.image)
            )
            assert torch.equal(rows.view_pixels(i, 99, student.image), batch.pixels[i])


@pytest.mark.parametrize("kept", [True, False], ids=["plain pixels kept", "plain pixels too large to keep"])
@pytest.mark.parametrize("augmentation", [PLAIN, FLIP, COLOUR, CROP, ALL], ids=str)
def test_batches_show_exactly_the_pixels_of_their_view(
    training_set: Maker,
    decoded: DecodedImages,
    student: Preprocessor,
    teacher: Preprocessor,
    augmentation: Augmentation,
    kept: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not kept:
        monkeypatch.setattr(loader, "PLAIN_BYTES", 1000)
    rows = training_set(augmentation, teachers=[teacher])
    for epoch in (0, 1, 4):
        batch = rows.batch(list(range(ROWS)), epoch)
        assert batch.view == rows.view_of(epoch)
        teachers = batch.teachers[0].pixels
        assert teachers is not None
        for i in range(ROWS):
            view = (
                view_parameters(augmentation, 0, rows.rows[i].id, batch.view) if augmentation.active else None
            )
            assert torch.equal(batch.pixels[i], apply_view(decoded[i], view, student.image))
            assert torch.equal(teachers[i], apply_view(decoded[i], view, teacher.image))
            assert torch.equal(rows.view_pixels(i, batch.view, student.image), batch.pixels[i])
            assert torch.equal(rows.view_pixels(i, batch.view, teacher.image), teachers[i])


@pytest.mark.parametrize("augmentation", [PLAIN, FLIP], ids=["plain", "flip"])
def test_kept_pixels_are_not_changed_through_what_was_handed_out(
    training_set: Maker, student: Preprocessor, augmentation: Augmentation
) -> None:
    rows = training_set(augmentation)
    first = rows.batch([1, 2, 3], 0).pixels.clone()
    rows.batch([1, 2, 3], 0).pixels.zero_()
    for i in (1, 2, 3):
        rows.view_pixels(i, 0, student.image).zero_()
    assert torch.equal(rows.batch([1, 2, 3], 0).pixels, first)


def test_views_cycle_over_epochs(training_set: Maker) -> None:
    assert [training_set(PLAIN).view_of(epoch) for epoch in range(4)] == [0, 0, 0, 0]
    assert [training_set(CROP).view_of(epoch) for epoch in range(4)] == [0, 1, 2, 3]
    assert [training_set(ALL).view_of(epoch) for epoch in range(4)] == [0, 1, 2, 0]
    rows = training_set(ALL)
    assert torch.equal(rows.batch([3, 4], 0).pixels, rows.batch([3, 4], 3).pixels)
    assert not torch.equal(rows.batch([3, 4], 0).pixels, rows.batch([3, 4], 1).pixels)


def test_a_teacher_gets_its_own_tokens_of_the_same_captions(
    training_set: Maker, teacher: Preprocessor
) -> None:
    rows = training_set(teachers=[teacher])
    batch = rows.batch(list(range(8)), 1)
    ids = batch.teachers[0].input_ids
    assert ids is not None
    for k in range(8):
        number = int(batch.caption[k])
        if number < 0:
            assert ids[k].tolist() == [teacher.text.pad_id] * 24
        else:
            expected = teacher.texts([rows.rows[k].captions[number]])[0]
            assert np.array_equal(ids[k].numpy(), expected)


def test_a_teacher_with_the_students_geometry_shares_its_pixels(
    training_set: Maker, student: Preprocessor
) -> None:
    batch = training_set(CROP, teachers=[student]).batch([1, 2], 0)
    assert batch.teachers[0].pixels is batch.pixels


def test_several_teachers_get_what_each_of_them_looks_at(
    training_set: Maker, student: Preprocessor, teacher: Preprocessor
) -> None:
    sees, reads = ImagePreprocessor(teacher.image), TextPreprocessor(teacher.text, teacher.tokenizer)
    rows = training_set(CROP, teachers=[student, reads, sees])
    alone = training_set(CROP, teachers=[teacher]).batch([1, 2, 5], 0).teachers[0]
    batch = rows.batch([1, 2, 5], 0)
    both, texts, images = batch.teachers
    assert both.pixels is batch.pixels
    assert torch.equal(both.input_ids, batch.input_ids)  # type: ignore[arg-type]
    assert texts.pixels is None
    assert torch.equal(texts.input_ids, alone.input_ids)  # type: ignore[arg-type]
    assert images.input_ids is None
    assert torch.equal(images.pixels, alone.pixels)  # type: ignore[arg-type]
    assert [rows.number_of(each) for each in (sees, reads, student, teacher)] == [2, 1, 0, None]
    assert rows.same_tokens(0)
    assert not rows.same_tokens(1)
    assert not rows.same_tokens(2)


def test_caption_sampling_is_pure_covers_all_and_knows_rows_without(training_set: Maker) -> None:
    rows, again, other = training_set(), training_set(), training_set(seed=1)
    drawn = {i: [rows.sample_caption(i, epoch) for epoch in range(60)] for i in range(ROWS)}
    assert drawn == {i: [again.sample_caption(i, epoch) for epoch in range(60)] for i in range(ROWS)}
    assert drawn != {i: [other.sample_caption(i, epoch) for epoch in range(60)] for i in range(ROWS)}
    for i, numbers in drawn.items():
        captions = len(rows.rows[i].captions)
        assert set(numbers) == (set(range(captions)) if captions else {-1})


def test_a_row_keeps_its_caption_and_view_when_others_are_left_out(
    pairs: SomeWithoutCaptions, training_set: Maker, student: Preprocessor, tmp_path: Path
) -> None:
    class Fewer(SomeWithoutCaptions):
        def __init__(self) -> None:
            super().__init__(ScenesData(kind="scenes", train=ROWS, image_size=48))
            self._keep = list(range(1, ROWS, 2))
            self._rows = [self._rows[i] for i in self._keep]
            self.fingerprint += "fewer"

        def image(self, index: int) -> Any:
            return super().image(self._keep[index])

    fewer = Fewer()
    images = DecodedImages.build(fewer, 48, tmp_path / "decoded")
    some, every = TrainingSet(fewer, images, student, ALL, 0), training_set(ALL)
    here, there = some.batch([0, 4], 5), every.batch([1, 9], 5)
    assert torch.equal(here.pixels, there.pixels)
    assert torch.equal(here.caption, there.caption)
    assert torch.equal(here.input_ids, there.input_ids)
    assert some.digest(4) == every.digest(9)


def test_normalisation_on_the_device_equals_the_preprocessors(
    training_set: Maker, student: Preprocessor
) -> None:
    pixels = training_set().batch([0, 1, 2], 0).pixels
    expected = np.stack([normalize(image.numpy().transpose(1, 2, 0), student.image) for image in pixels])
    made = normalize_pixels(pixels, student.image)
    assert made.dtype == torch.float32
    np.testing.assert_allclose(made.numpy(), expected, rtol=0, atol=1e-6)
    assert pixels.dtype == torch.uint8
