"""Batches in the order of their training: the same for any workers, any processes and any resumption."""

from __future__ import annotations

import threading
import time
from dataclasses import fields
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.data.loader import Batch, BatchStream
from compressor.errors import DataError
from compressor.preprocess.preprocessor import Preprocessor
from tests.data.training_rows import ALL, CROP, FLIP, Maker


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


def take(stream: BatchStream, count: int) -> list[tuple[int, int, Batch]]:
    with stream:
        return [next(stream) for _ in range(count)]


def test_an_epoch_shows_every_row_once_in_an_order_of_its_own(training_set: Maker) -> None:
    batches = take(BatchStream(training_set(), 7, seed=3, workers=1), 12)
    assert [step for step, _, _ in batches] == list(range(12))
    assert [epoch for _, epoch, _ in batches] == [0] * 4 + [1] * 4 + [2] * 4
    orders = [
        [i for _, e, batch in batches if e == epoch for i in batch.index.tolist()] for epoch in range(3)
    ]
    for order in orders:
        assert len(set(order)) == 28  # of 30: the last incomplete batch is dropped
    assert orders[0] != orders[1] != orders[2]
    other = take(BatchStream(training_set(), 7, seed=4, workers=0), 1)
    assert other[0][2].index.tolist() != batches[0][2].index.tolist()


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_any_number_of_workers_gives_the_same_batches(training_set: Maker, workers: int) -> None:
    expected = take(BatchStream(training_set(ALL), 8, seed=0, workers=0), 8)
    found = take(BatchStream(training_set(ALL), 8, seed=0, workers=workers), 8)
    for (step, epoch, batch), (other_step, other_epoch, other) in zip(expected, found, strict=True):
        assert (step, epoch) == (other_step, other_epoch)
        assert_equal(batch, other)


@settings(max_examples=25, deadline=None)
@given(start=st.integers(0, 40), workers=st.integers(0, 2), batch_size=st.sampled_from([4, 8, 30]))
def test_resuming_at_any_step_gives_the_same_batches(
    training_set: Maker, start: int, workers: int, batch_size: int
) -> None:
    rows = training_set(FLIP)
    whole = take(BatchStream(rows, batch_size, seed=5, workers=0), start + 3)
    resumed = take(BatchStream(rows, batch_size, seed=5, workers=workers, start_step=start), 3)
    for (step, epoch, batch), (other_step, other_epoch, other) in zip(whole[start:], resumed, strict=True):
        assert (step, epoch) == (other_step, other_epoch)
        assert_equal(batch, other)


@settings(max_examples=25, deadline=None)
@given(world=st.sampled_from([1, 2, 3, 4, 6, 12]), start=st.integers(0, 10), seed=st.integers(0, 99))
def test_the_slices_of_all_ranks_joined_are_the_batch_of_one_process(
    training_set: Maker, teacher: Preprocessor, world: int, start: int, seed: int
) -> None:
    rows = training_set(CROP, teachers=[teacher])
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
    training_set: Maker, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    rows = training_set()
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


def test_closing_leaves_no_thread_and_may_be_repeated(training_set: Maker) -> None:
    stream = BatchStream(training_set(), 5, seed=0, workers=3)
    next(stream)
    assert workers_alive()
    stream.close()
    assert not workers_alive()
    stream.close()
    assert list(stream) == []


def test_workers_do_not_run_ahead_without_bound(training_set: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = training_set()
    original, prepared = rows.batch, []

    def counting(indices: Any, epoch: int) -> Batch:
        prepared.append(epoch)
        return original(indices, epoch)

    monkeypatch.setattr(rows, "batch", counting)
    with BatchStream(rows, 5, seed=0, workers=2) as stream:
        next(stream)
        time.sleep(0.2)
        assert 1 <= len(prepared) <= 4


def test_a_set_smaller_than_a_batch_is_refused_in_one_sentence(training_set: Maker) -> None:
    with pytest.raises(
        DataError, match=r"30 usable rows, fewer than one batch of 31; lower batch_size"
    ) as caught:
        BatchStream(training_set(), 31, seed=0)
    assert "\n" not in str(caught.value)
    assert BatchStream(training_set(), 30, seed=0, workers=0).steps_per_epoch == 1


def test_a_batch_that_processes_cannot_share_is_refused(training_set: Maker) -> None:
    with pytest.raises(DataError, match="a multiple of 3"):
        BatchStream(training_set(), 10, seed=0, world=3)
