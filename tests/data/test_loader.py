"""Training rows as batches: pure functions of seed, row and epoch, whoever prepares or resumes them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.data import loader
from compressor.data.augment import apply_view, view_parameters
from compressor.data.decoded import DecodedImages
from compressor.data.loader import Batch, BatchStream, TrainingSet, normalize_pixels
from compressor.data.pairs import Row
from compressor.data.scenes import ScenesPairs
from compressor.errors import DataError
from compressor.preprocess.image import normalize, resize_image
from compressor.preprocess.preprocessor import ImagePreprocessor, Preprocessor, TextPreprocessor
from compressor.preprocess.spec import ImageSpec
from compressor.preprocess.tokenizers import train_bpe
from compressor.recipe.data import ScenesData
from compressor.recipe.training import Augmentation

ROWS = 30
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
PLAIN = Augmentation()
FLIP = Augmentation(horizontal_flip=0.5)
COLOUR = Augmentation(colour=0.3)
CROP = Augmentation(crop_scale=(0.5, 1.0), horizontal_flip=0.5)
ALL = Augmentation(crop_scale=(0.5, 1.0), horizontal_flip=0.5, colour=0.3, views=3)


class SomeWithoutCaptions(ScenesPairs):
    """Scenes, every fourth without a caption, every fifth with one only."""

    def __init__(self, section: ScenesData) -> None:
        super().__init__(section, "train")
        for i, row in enumerate(self._rows):
            kept = 0 if i % 4 == 0 else 1 if i % 5 == 0 else 5
            self._rows[i] = Row(row.id, row.captions[:kept], row.caption_ids[:kept])


@pytest.fixture(scope="module")
def pairs() -> SomeWithoutCaptions:
    return SomeWithoutCaptions(ScenesData(kind="scenes", train=ROWS, image_size=48))


@pytest.fixture(scope="module")
def decoded(pairs: SomeWithoutCaptions, tmp_path_factory: pytest.TempPathFactory) -> DecodedImages:
    return DecodedImages.build(pairs, 48, tmp_path_factory.mktemp("cache") / "decoded")


def preprocessor(pairs: SomeWithoutCaptions, size: int, context_length: int, vocabulary: int) -> Preprocessor:
    captions = [caption for row in pairs.rows for caption in row.captions]
    tokenizer, text = train_bpe(captions, vocabulary, context_length, True)
    return Preprocessor(ImageSpec(size=size, mean=MEAN, std=STD), text, tokenizer)


@pytest.fixture(scope="module")
def student(pairs: SomeWithoutCaptions) -> Preprocessor:
    return preprocessor(pairs, 32, 40, 300)


@pytest.fixture(scope="module")
def teacher(pairs: SomeWithoutCaptions) -> Preprocessor:
    return preprocessor(pairs, 56, 24, 400)


Maker = Callable[..., TrainingSet]


@pytest.fixture(scope="module")
def make(pairs: SomeWithoutCaptions, decoded: DecodedImages, student: Preprocessor) -> Maker:
    def training_set(augmentation: Augmentation = PLAIN, seed: int = 0, **options: Any) -> TrainingSet:
        return TrainingSet(pairs, decoded, student, augmentation, seed, **options)

    return training_set


def parts_of(batch: Batch) -> dict[str, Any]:
    """What a batch holds by name, the teachers' inputs one by one."""
    parts = {field.name: getattr(batch, field.name) for field in fields(Batch)}
    for number, inputs in enumerate(parts.pop("teachers")):
        parts |= {f"pixels of teacher {number}": inputs.pixels, f"ids of teacher {number}": inputs.input_ids}
    return parts


def assert_equal(one: Batch, other: Batch) -> None:
    left, right = parts_of(one), parts_of(other)
    assert left.keys() == right.keys()
    for name, value in left.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == right[name].dtype, name
            assert torch.equal(value, right[name]), name
        else:
            assert value == right[name], name


def test_a_batch_holds_the_rows_that_were_asked_for(make: Maker, student: Preprocessor) -> None:
    rows = make()
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
    make: Maker, decoded: DecodedImages, student: Preprocessor
) -> None:
    rows = make()
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
    make: Maker,
    decoded: DecodedImages,
    student: Preprocessor,
    teacher: Preprocessor,
    augmentation: Augmentation,
    kept: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not kept:
        monkeypatch.setattr(loader, "PLAIN_BYTES", 1000)
    rows = make(augmentation, teachers=[teacher])
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
    make: Maker, student: Preprocessor, augmentation: Augmentation
) -> None:
    rows = make(augmentation)
    first = rows.batch([1, 2, 3], 0).pixels.clone()
    rows.batch([1, 2, 3], 0).pixels.zero_()
    for i in (1, 2, 3):
        rows.view_pixels(i, 0, student.image).zero_()
    assert torch.equal(rows.batch([1, 2, 3], 0).pixels, first)


def test_views_cycle_over_epochs(make: Maker) -> None:
    assert [make(PLAIN).view_of(epoch) for epoch in range(4)] == [0, 0, 0, 0]
    assert [make(CROP).view_of(epoch) for epoch in range(4)] == [0, 1, 2, 3]
    assert [make(ALL).view_of(epoch) for epoch in range(4)] == [0, 1, 2, 0]
    rows = make(ALL)
    assert torch.equal(rows.batch([3, 4], 0).pixels, rows.batch([3, 4], 3).pixels)
    assert not torch.equal(rows.batch([3, 4], 0).pixels, rows.batch([3, 4], 1).pixels)


def test_a_teacher_gets_its_own_tokens_of_the_same_captions(make: Maker, teacher: Preprocessor) -> None:
    rows = make(teachers=[teacher])
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


def test_a_teacher_with_the_students_geometry_shares_its_pixels(make: Maker, student: Preprocessor) -> None:
    batch = make(CROP, teachers=[student]).batch([1, 2], 0)
    assert batch.teachers[0].pixels is batch.pixels


def test_several_teachers_get_what_each_of_them_looks_at(
    make: Maker, student: Preprocessor, teacher: Preprocessor
) -> None:
    sees, reads = ImagePreprocessor(teacher.image), TextPreprocessor(teacher.text, teacher.tokenizer)
    rows = make(CROP, teachers=[student, reads, sees])
    alone = make(CROP, teachers=[teacher]).batch([1, 2, 5], 0).teachers[0]
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


def test_caption_sampling_is_pure_covers_all_and_knows_rows_without(make: Maker) -> None:
    rows, again, other = make(), make(), make(seed=1)
    drawn = {i: [rows.sample_caption(i, epoch) for epoch in range(60)] for i in range(ROWS)}
    assert drawn == {i: [again.sample_caption(i, epoch) for epoch in range(60)] for i in range(ROWS)}
    assert drawn != {i: [other.sample_caption(i, epoch) for epoch in range(60)] for i in range(ROWS)}
    for i, numbers in drawn.items():
        captions = len(rows.rows[i].captions)
        assert set(numbers) == (set(range(captions)) if captions else {-1})


def test_a_row_keeps_its_caption_and_view_when_others_are_left_out(
    pairs: SomeWithoutCaptions, make: Maker, student: Preprocessor, tmp_path: Path
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
    some, every = TrainingSet(fewer, images, student, ALL, 0), make(ALL)
    here, there = some.batch([0, 4], 5), every.batch([1, 9], 5)
    assert torch.equal(here.pixels, there.pixels)
    assert torch.equal(here.caption, there.caption)
    assert torch.equal(here.input_ids, there.input_ids)
    assert some.digest(4) == every.digest(9)


def test_normalisation_on_the_device_equals_the_preprocessors(make: Maker, student: Preprocessor) -> None:
    pixels = make().batch([0, 1, 2], 0).pixels
    expected = np.stack([normalize(image.numpy().transpose(1, 2, 0), student.image) for image in pixels])
    made = normalize_pixels(pixels, student.image)
    assert made.dtype == torch.float32
    np.testing.assert_allclose(made.numpy(), expected, rtol=0, atol=1e-6)
    assert pixels.dtype == torch.uint8


def take(stream: BatchStream, count: int) -> list[tuple[int, int, Batch]]:
    with stream:
        return [next(stream) for _ in range(count)]


def test_an_epoch_shows_every_row_once_in_an_order_of_its_own(make: Maker) -> None:
    batches = take(BatchStream(make(), 7, seed=3, workers=1), 12)
    assert [step for step, _, _ in batches] == list(range(12))
    assert [epoch for _, epoch, _ in batches] == [0] * 4 + [1] * 4 + [2] * 4
    orders = [
        [i for _, e, batch in batches if e == epoch for i in batch.index.tolist()] for epoch in range(3)
    ]
    for order in orders:
        assert len(set(order)) == 28  # of 30: the last incomplete batch is dropped
    assert orders[0] != orders[1] != orders[2]
    other = take(BatchStream(make(), 7, seed=4, workers=0), 1)
    assert other[0][2].index.tolist() != batches[0][2].index.tolist()


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_any_number_of_workers_gives_the_same_batches(make: Maker, workers: int) -> None:
    expected = take(BatchStream(make(ALL), 8, seed=0, workers=0), 8)
    found = take(BatchStream(make(ALL), 8, seed=0, workers=workers), 8)
    for (step, epoch, batch), (other_step, other_epoch, other) in zip(expected, found, strict=True):
        assert (step, epoch) == (other_step, other_epoch)
        assert_equal(batch, other)


@settings(max_examples=25, deadline=None)
@given(start=st.integers(0, 40), workers=st.integers(0, 2), batch_size=st.sampled_from([4, 8, 30]))
def test_resuming_at_any_step_gives_the_same_batches(
    make: Maker, start: int, workers: int, batch_size: int
) -> None:
    rows = make(FLIP)
    whole = take(BatchStream(rows, batch_size, seed=5, workers=0), start + 3)
    resumed = take(BatchStream(rows, batch_size, seed=5, workers=workers, start_step=start), 3)
    for (step, epoch, batch), (other_step, other_epoch, other) in zip(whole[start:], resumed, strict=True):
        assert (step, epoch) == (other_step, other_epoch)
        assert_equal(batch, other)


@settings(max_examples=25, deadline=None)
@given(world=st.sampled_from([1, 2, 3, 4, 6, 12]), start=st.integers(0, 10), seed=st.integers(0, 99))
def test_the_slices_of_all_ranks_joined_are_the_batch_of_one_process(
    make: Maker, teacher: Preprocessor, world: int, start: int, seed: int
) -> None:
    rows = make(CROP, teachers=[teacher])
    [(step, epoch, whole)] = take(BatchStream(rows, 12, seed, workers=0, start_step=start), 1)
    parts = [
        take(BatchStream(rows, 12, seed, workers=0, rank=rank, world=world, start_step=start), 1)[0]
        for rank in range(world)
    ]
    assert {(s, e) for s, e, _ in parts} == {(step, epoch)}
    joined = parts_of(whole)
    assert len(joined) == 8
    for name, expected in joined.items():
        if isinstance(expected, torch.Tensor):
            values = [parts_of(batch)[name] for _, _, batch in parts]
            assert all(len(value) == 12 // world for value in values)
            assert torch.equal(torch.cat(values), expected)


def workers_alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("batches")]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_an_error_in_a_worker_is_raised_where_its_batch_was_due(
    make: Maker, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    rows = make()
    original, calls = rows.batch, []

    def failing(indices: Any, epoch: int) -> Batch:
        calls.append(epoch)
        if epoch == 1:
            raise DataError("image scenes-17 could be decoded before but cannot now")
        return original(indices, epoch)

    monkeypatch.setattr(rows, "batch", failing)
    stream = BatchStream(rows, 10, seed=0, workers=workers)
    assert [next(stream)[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match="scenes-17") as caught:
        next(stream)
    assert any(entry.name == "failing" for entry in caught.traceback)
    assert not workers_alive()
    with pytest.raises(StopIteration):
        next(stream)


def test_closing_leaves_no_thread_and_may_be_repeated(make: Maker) -> None:
    stream = BatchStream(make(), 5, seed=0, workers=3)
    next(stream)
    assert workers_alive()
    stream.close()
    assert not workers_alive()
    stream.close()
    assert list(stream) == []


def test_workers_do_not_run_ahead_without_bound(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = make()
    original, prepared = rows.batch, []

    def counting(indices: Any, epoch: int) -> Batch:
        prepared.append(epoch)
        return original(indices, epoch)

    monkeypatch.setattr(rows, "batch", counting)
    with BatchStream(rows, 5, seed=0, workers=2) as stream:
        next(stream)
        time.sleep(0.2)
        assert 1 <= len(prepared) <= 4


def test_a_set_smaller_than_a_batch_is_refused_in_one_sentence(make: Maker) -> None:
    with pytest.raises(
        DataError, match=r"30 usable rows, fewer than one batch of 31; lower batch_size"
    ) as caught:
        BatchStream(make(), 31, seed=0)
    assert "\n" not in str(caught.value)
    assert BatchStream(make(), 30, seed=0, workers=0).steps_per_epoch == 1


def test_a_batch_that_processes_cannot_share_is_refused(make: Maker) -> None:
    with pytest.raises(DataError, match="a multiple of 3"):
        BatchStream(make(), 10, seed=0, world=3)
