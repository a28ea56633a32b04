"""The backlog is what no thread has begun with, however it goes away, and it is bounded."""

from __future__ import annotations

import threading

import pytest

from serving.batching import OverloadedError
from serving.decoding import Decoders


def test_the_backlog_counts_what_waits() -> None:
    decoders, gate, began = Decoders(1, capacity=3), threading.Event(), threading.Event()

    def slow(file: bytes) -> int:
        began.set()
        assert gate.wait(20)
        return len(file)

    (first,) = decoders.submit(slow, [b"1"])
    assert began.wait(20)
    second, third = decoders.submit(slow, [b"12", b"123"])
    assert decoders.backlog == 2
    with pytest.raises(OverloadedError) as full:
        decoders.submit(slow, [b"1", b"1"])
    assert full.value.retry_after >= 1
    assert decoders.backlog == 2, "none of a request that does not fit"
    assert third.cancel()
    assert decoders.backlog == 1
    gate.set()
    assert (first.result(20), second.result(20)) == (1, 2)
    decoders.shutdown()
    assert decoders.backlog == 0
