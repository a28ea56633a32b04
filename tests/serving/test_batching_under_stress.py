"""Whatever callers and models do, every future is done soon and no row is counted for ever."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import Future

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from serving.batching import DeadlineError, Engine, Lane, OverloadedError
from tests.serving.processes import until

FAR = 1e9


class PanicError(BaseException):
    """What libraries in other languages raise."""


def rows(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(1, 9))
def test_every_request_is_answered_cancelled_or_told_why_not(seed: int, threads: int, max_batch: int) -> None:
    """Four callers submit, cancel and give short deadlines; models fail, panic and are slow; rows are said to
    be on their way, and then not."""
    given_out: list[tuple[np.ndarray, Future[np.ndarray]]] = []
    flapping = random.Random(seed)

    def run(batch: np.ndarray) -> np.ndarray:
        time.sleep(flapping.choice([0, 0, 0.001]))
        if (batch == 13).any():
            raise ValueError("unlucky")
        if (batch == 17).any():
            raise PanicError("library")
        return batch * 2

    lanes = {name: Lane(run, max_batch, lambda: flapping.random() < 0.5) for name in ("image", "text")}

    def call(number: int) -> None:
        chance = random.Random(seed + number)
        for _ in range(15):
            sent = rows(*(chance.randrange(20) for _ in range(chance.randint(1, 12))))
            late = chance.random() < 0.2
            deadline = time.monotonic() + chance.random() / 200 if late else FAR
            try:
                future = engine.submit(chance.choice(["image", "text"]), sent, deadline)
            except OverloadedError:
                time.sleep(0.002)
                continue
            given_out.append((sent, future))
            if chance.random() < 0.2:
                future.cancel()

    with Engine(lanes, capacity=40, threads=threads) as engine:
        callers = [threading.Thread(target=call, args=(number,)) for number in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(20)
        until(lambda: all(future.done() for _, future in given_out), 10)
        alive = [thread.is_alive() for thread in engine._threads]
    assert alive == [True] * threads
    assert engine.waiting == 0
    for sent, future in given_out:
        if future.cancelled():
            continue
        error = future.exception(0)
        if error is None:
            np.testing.assert_array_equal(future.result(0), 2 * sent)
        elif not isinstance(error, DeadlineError):
            assert str(error) in ("unlucky", "PanicError: library")


def test_a_thread_that_takes_part_of_a_request_calls_another_for_the_rest() -> None:
    both = threading.Barrier(2, timeout=20)

    def together(batch: np.ndarray) -> np.ndarray:
        both.wait()
        return batch * 2

    with Engine({"image": Lane(together, max_batch=2)}, 100, threads=2) as engine:
        found = engine.submit("image", rows(1, 2, 3, 4), FAR).result(20)
    np.testing.assert_array_equal(found, rows(2, 4, 6, 8))


def test_rows_that_wait_for_more_are_not_forgotten_while_another_lane_runs() -> None:
    """The thread that kept their time has gone to run the other lane, for long."""
    gate, began = threading.Event(), threading.Event()

    def slow(batch: np.ndarray) -> np.ndarray:
        began.set()
        assert gate.wait(20)
        return batch

    lanes = {"image": Lane(lambda batch: batch * 2, more=lambda: True), "text": Lane(slow)}
    with Engine(lanes, 100, threads=2) as engine:
        for _ in range(20):
            began.clear()
            gate.clear()
            picture = engine.submit("image", rows(1), FAR)
            text = engine.submit("text", rows(2), FAR)
            assert began.wait(20)
            assert picture.result(5)[0, 0] == 2
            gate.set()
            text.result(20)


@pytest.mark.parametrize("answered", [0, 1, 3])
def test_a_model_that_answers_with_another_number_of_rows_fails_the_request(answered: int) -> None:
    lane = Lane(lambda batch: np.zeros((answered, 1), np.float32))
    with (
        Engine({"text": lane}, 10) as engine,
        pytest.raises(ValueError, match=f"2 rows with {answered}"),
    ):
        engine.submit("text", rows(1, 2), FAR).result(20)


def test_who_observes_cannot_end_the_thread() -> None:
    def observe(*_: object) -> None:
        raise OSError("the disk is full")

    with Engine({"text": Lane(lambda batch: batch * 2)}, 10, observe=observe) as engine:
        for _ in range(3):
            assert engine.submit("text", rows(4), FAR).result(20)[0, 0] == 8
