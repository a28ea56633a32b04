"""What `/metrics` counts and times: each stage of a request, batches, queues, answers.

BentoML's own metrics are switched off: they have a label for every path that anybody ever asked for, the ids
of items among them, and grow with each.

`prometheus_client` is imported by the first worker that makes one of these, not with the module: BentoML says
where several workers keep their counts only when a worker starts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from starlette.responses import Response

from serving.batching import Observe

STAGES = ("decode", "tokenise", "queue", "inference", "index")
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


def shown() -> Response:
    """`/metrics` of all workers."""
    from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class Metrics:
    """Prometheus metrics of one worker."""

    def __init__(self, registry: Any = None) -> None:
        """`registry`: of prometheus_client; None is its usual one."""
        from prometheus_client import REGISTRY, Counter, Gauge, Histogram

        where: Any = {"registry": REGISTRY if registry is None else registry}
        self._stages = Histogram(
            "compressor_stage_seconds",
            "Seconds of a stage of a request, waiting for a model among them",
            ["stage", "model"],
            buckets=_SECONDS,
            **where,
        )
        self._batches = Histogram(
            "compressor_batch_rows", "Rows of a batch", ["model", "lane"], buckets=_ROWS, **where
        )
        self._answers = Counter("compressor_answers_total", "Answers", ["path", "status"], **where)
        self._requests = Histogram(
            "compressor_request_seconds",
            "Seconds from a request's arrival to its answer",
            ["path"],
            buckets=_SECONDS,
            **where,
        )
        self._waiting = Gauge(
            "compressor_queue_rows",
            "Rows that wait for a model, and pictures that wait to be decoded",
            ["stage", "model"],
            multiprocess_mode="livesum",
            **where,
        )

    @contextmanager
    def stage(self, name: str, model: str) -> Iterator[None]:
        """Time a stage."""
        started = perf_counter()
        try:
            yield
        finally:
            self._stages.labels(name, model).observe(perf_counter() - started)

    def batches(self, model: str, undecoded: Callable[[], int]) -> Observe:
        """What an engine tells of its batches; `undecoded`: pictures that wait to be decoded."""

        def observe(lane: str, rows: int, waited: float, ran: float, left: int) -> None:
            self._batches.labels(model, lane).observe(rows)
            self._stages.labels("queue", model).observe(waited)
            self._stages.labels("inference", model).observe(ran)
            self.waiting(model, left)
            self._waiting.labels("decode", "").set(undecoded())

        return observe

    def waiting(self, model: str, rows: int) -> None:
        """How many rows wait now."""
        self._waiting.labels("inference", model).set(rows)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count and time an answer; `path` is one that is served, or `other`: callers make up no labels."""
        self._requests.labels(path).observe(seconds)
        self._answers.labels(path, str(status)).inc()
