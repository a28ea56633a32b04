"""The queue is a plain first-in-first-out list, in buffers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.losses import TeacherQueue
from tests.losses.cases import rows


def unit(values: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(values)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.lists(st.integers(0, 12), max_size=6))
def test_the_queue_holds_what_a_list_of_the_last_rows_holds(size: int, batches: list[int]) -> None:
    queue = TeacherQueue(size, 3)
    kept: list[tuple[int, bool, torch.Tensor, torch.Tensor]] = []
    for step, count in enumerate(batches):
        image, text = rows(count, 3, step, torch.float32), rows(count, 3, step + 50, torch.float32)
        sample = torch.arange(count) + 100 * step
        has_text = sample % 3 != 0
        queue.push(image, text, sample, has_text)
        kept += zip(sample.tolist(), has_text.tolist(), unit(image), unit(text), strict=True)
    kept = kept[-size:]

    usable = queue.usable("image")
    assert int(queue.filled) == len(kept) == int(usable.sum())
    found = {int(sample): place for place, sample in enumerate(queue.sample) if usable[place]}
    assert sorted(found) == sorted(sample for sample, _, _, _ in kept)
    for sample, has_text, image, text in kept:
        place = found[sample]
        torch.testing.assert_close(queue.image[place], image)
        torch.testing.assert_close(queue.text[place], text if has_text else torch.zeros(3))
        assert bool(queue.usable("text")[place]) == has_text


def test_a_restored_queue_goes_on_where_it_was() -> None:
    first = TeacherQueue(5, 3)
    everything = torch.ones(3, dtype=torch.bool)
    first.push(rows(3, 3, 0), rows(3, 3, 1), torch.arange(3), everything)
    second = TeacherQueue(5, 3)
    second.load_state_dict(first.state_dict())
    for queue in (first, second):
        queue.push(rows(3, 3, 2), rows(3, 3, 3), torch.arange(3, 6), everything)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert first.sample.tolist() == [5, 1, 2, 3, 4]


def test_an_absent_text_that_is_nan_never_enters() -> None:
    queue = TeacherQueue(2, 3)
    queue.push(rows(2, 3, 0), torch.full((2, 3), torch.nan), torch.arange(2), torch.zeros(2).bool())
    assert queue.text.isfinite().all()


def test_a_queue_without_places_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        TeacherQueue(0, 3)
