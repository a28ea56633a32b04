"""Every row comes back to who sent it, the queue is bounded, and nobody waits for what cannot come."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.batching import ClosedError, DeadlineError, Engine, Lane, OverloadedError

FAR = 1e9


class Model:
    """Doubles rows; `gate` holds every batch until it is opened."""

    def __init__(self, held: bool = False) -> None:
        self.gate = threading.Event()
        self.began = threading.Event()
        self.sizes: list[int] = []
        if not held:
            self.gate.set()

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        self.began.set()
        assert self.gate.wait(20)
        self.sizes.append(len(rows))
        return rows * 2


@pytest.fixture
def model() -> Iterator[Model]:
    model = Model(held=True)
    yield model
    model.gate.set()


def rows(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def busy(engine: Engine, model: Model) -> Future[np.ndarray]:
    """Something that runs, so that what comes after it waits."""
    first = engine.submit("image", rows(0), FAR)
    assert model.began.wait(20)
    return first


def test_results_come_back_in_order() -> None:
    with Engine({"image": Lane(Model())}, capacity=100) as engine:
        np.testing.assert_array_equal(engine.submit("image", rows(1, 2, 3), FAR).result(20), rows(2, 4, 6))


def test_what_waits_together_runs_together(model: Model) -> None:
    with Engine({"image": Lane(model, max_batch=8)}, capacity=100) as engine:
        first = busy(engine, model)
        waiting = [engine.submit("image", rows(value, value + 1), FAR) for value in (10, 20, 30)]
        assert engine.waiting == 6
        model.gate.set()
        assert first.result(20)[0, 0] == 0
        assert [future.result(20)[0, 0] for future in waiting] == [20, 40, 60]
        assert model.sizes == [1, 6]
        assert engine.waiting == 0


def test_a_request_larger_than_a_batch_is_split_and_put_together(model: Model) -> None:
    with Engine({"image": Lane(model, max_batch=4)}, capacity=100) as engine:
        busy(engine, model)
        large = engine.submit("image", rows(*range(10)), FAR)
        small = engine.submit("image", rows(7), FAR)
        model.gate.set()
        np.testing.assert_array_equal(large.result(20), 2 * rows(*range(10)))
        assert small.result(20)[0, 0] == 14
        assert model.sizes == [1, 4, 4, 3]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=25), st.integers(1, 7), st.integers(1, 3))
def test_rows_are_never_mixed_up(counts: list[int], max_batch: int, threads: int) -> None:
    lanes = {name: Lane(Model(), max_batch) for name in ("image", "text")}
    with Engine(lanes, capacity=1000, threads=threads) as engine:

        def ask(number: int) -> bool:
            sent = rows(*(100 * number + k for k in range(counts[number])))
            got = engine.submit(("image", "text")[number % 2], sent, FAR).result(20)
            return bool(np.array_equal(got, 2 * sent))

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(ask, range(len(counts))))


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(model: Model) -> None:
    with Engine({"image": Lane(model)}, capacity=3) as engine:
        busy(engine, model)
        engine.submit("image", rows(1, 2), FAR)
        with pytest.raises(OverloadedError) as caught:
            engine.submit("image", rows(3, 4), FAR)
        assert caught.value.retry_after >= 1
        last = engine.submit("image", rows(5), FAR)
        model.gate.set()
        assert last.result(20)[0, 0] == 10


def test_the_capacity_counts_rows_of_all_lanes(model: Model) -> None:
    with Engine({"image": Lane(model), "text": Lane(model)}, capacity=3) as engine:
        busy(engine, model)
        engine.submit("text", rows(1, 2), FAR)
        engine.submit("image", rows(3), FAR)
        with pytest.raises(OverloadedError):
            engine.submit("text", rows(4), FAR)
        model.gate.set()


def test_the_lane_that_waited_longest_is_next(model: Model) -> None:
    order: list[str] = []

    def text(found: np.ndarray) -> np.ndarray:
        order.append("text")
        return found

    def image(found: np.ndarray) -> np.ndarray:
        order.append("image")
        return model(found)

    with Engine({"image": Lane(image), "text": Lane(text)}, capacity=10) as engine:
        busy(engine, model)
        futures = [engine.submit(name, rows(1), FAR) for name in ("text", "image")]
        model.gate.set()
        for future in futures:
            future.result(20)
    assert order == ["image", "text", "image"]


def test_a_cancelled_request_frees_its_place_and_is_not_run(model: Model) -> None:
    with Engine({"image": Lane(model)}, capacity=2) as engine:
        busy(engine, model)
        gone = engine.submit("image", rows(1, 2), FAR)
        assert gone.cancel()
        kept = engine.submit("image", rows(3, 4), FAR)
        model.gate.set()
        kept.result(20)
        assert model.sizes == [1, 2]


def test_what_is_too_late_is_told_so_and_not_run(model: Model) -> None:
    with Engine({"image": Lane(model)}, capacity=2) as engine:
        busy(engine, model)
        late = engine.submit("image", rows(1, 2), time.monotonic() + 0.02)
        time.sleep(0.05)
        kept = engine.submit("image", rows(3, 4), FAR)
        with pytest.raises(DeadlineError):
            late.result(20)
        model.gate.set()
        kept.result(20)
        assert model.sizes == [1, 2]


def test_a_model_that_fails_fails_its_batch_alone() -> None:
    def picky(found: np.ndarray) -> np.ndarray:
        if (found < 0).any():
            raise ValueError("negative")
        return found

    with Engine({"image": Lane(picky)}, capacity=10) as engine:
        with pytest.raises(ValueError, match="negative"):
            engine.submit("image", rows(-1), FAR).result(20)
        assert engine.submit("image", rows(1), FAR).result(20)[0, 0] == 1


def test_closing_runs_what_waits_and_takes_no_more(model: Model) -> None:
    engine = Engine({"image": Lane(model)}, capacity=10)
    busy(engine, model)
    waiting = engine.submit("image", rows(1), FAR)
    closing = threading.Thread(target=engine.close)
    closing.start()
    model.gate.set()
    closing.join(20)
    assert waiting.result(0)[0, 0] == 2
    with pytest.raises(ClosedError):
        engine.submit("image", rows(1), FAR)


def test_batches_are_observed() -> None:
    seen: list[tuple[str, int, float, float, int]] = []
    with Engine({"text": Lane(Model())}, 10, observe=lambda *facts: seen.append(facts)) as engine:
        engine.submit("text", rows(1, 2), FAR).result(20)
    ((name, count, waited, ran, left),) = seen
    assert (name, count, left) == ("text", 2, 0)
    assert waited >= 0
    assert ran >= 0


def test_a_small_batch_waits_for_rows_that_are_on_their_way() -> None:
    model, coming = Model(), threading.Event()
    coming.set()
    with Engine({"image": Lane(model, more=coming.is_set)}, 100, clock=lambda: 0.0) as engine:
        early = [engine.submit("image", rows(value), FAR) for value in (1, 2)]
        time.sleep(0.05)
        assert not any(future.done() for future in early), "their time has not come: the clock stands still"
        coming.clear()
        engine.submit("image", rows(3), FAR).result(20)
        assert all(future.done() for future in early)
    assert model.sizes == [3]


def test_rows_that_do_not_come_are_not_waited_for_long() -> None:
    with Engine({"image": Lane(Model(), more=lambda: True)}, 100) as engine:
        assert engine.submit("image", rows(1), FAR).result(20)[0, 0] == 2


def test_a_batch_that_is_large_enough_does_not_wait() -> None:
    with Engine({"image": Lane(Model(), more=lambda: True)}, 100, clock=lambda: 0.0) as engine:
        assert len(engine.submit("image", rows(*range(8)), FAR).result(20)) == 8


def test_lanes_do_not_wait_for_the_rows_of_others() -> None:
    lanes = {"image": Lane(Model(), more=lambda: True), "text": Lane(Model())}
    engine = Engine(lanes, 100, clock=lambda: 0.0)
    picture = engine.submit("image", rows(1), FAR)
    assert engine.submit("text", rows(2), FAR).result(20)[0, 0] == 4
    assert not picture.done()
    engine.close()
    assert picture.result(20)[0, 0] == 2, "at the end nothing is waited for"


@pytest.mark.parametrize("wrong", [{"capacity": 0}, {"threads": 0}, {"lanes": {"image": Lane(Model(), 0)}}])
def test_sizes_below_one_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Engine(**{"lanes": {"image": Lane(Model())}, "capacity": 1, **wrong})  # type: ignore[arg-type]
