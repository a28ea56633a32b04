"""Threads that compute give way to the one that talks."""

from __future__ import annotations

import os
import sys
import threading

import numpy as np

from serving.batching import Engine, Lane
from serving.decoding import Decoders


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id() if sys.platform == "linux" else 0)


def test_models_and_decoders_give_way_to_the_loop() -> None:
    here, found = niceness(), []

    def run(rows: np.ndarray) -> np.ndarray:
        found.append(niceness())
        return rows

    with Engine({"text": Lane(run)}, 10) as engine:
        engine.submit("text", np.zeros((1, 1)), 1e9).result(20)
    decoders = Decoders(1, 10)
    (future,) = decoders.submit(lambda _: niceness(), [b""])
    found.append(future.result(20))
    decoders.shutdown()
    lower = min(19, here + 5) if sys.platform == "linux" else here
    assert found == [lower, lower]
    assert niceness() == here, "and this thread keeps its own"
