"""What a load measures: one number for every answer, one counter for every kind of error."""

from __future__ import annotations

import dataclasses
import json
from array import array
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

_MOST_KINDS = 50
_SHARES = (50, 90, 95, 99)


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of latencies in milliseconds; each but the mean was measured of one answer (inverted distribution
    function)."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class LoadReport:
    """A load and what came of it. The warm-up is in none of the figures.

    `good`: answers whose latencies make up `latency_ms` (None without any): from the scheduled arrival on in
    an open loop, from the sending on in a closed one. `throughput`: good answers a second, over `measured`
    seconds from the end of the warm-up to the last answer. `errors`: by kind. `unfinished`: sent and not
    answered when the measurement was interrupted. `late_ms`: by how much an open loop sent later than
    scheduled, mean and longest: the generator's own part of the latencies. `generator`: cores that this
    process was busy on; where that comes near 1, the generator is the limit and not the service.
    """

    url: str
    kind: str
    loop: str
    clients: int | None
    rate: float | None
    seconds: float
    warmup: float
    timeout: float
    seed: int
    measured: float
    good: int
    errors: dict[str, int]
    unfinished: int
    throughput: float
    latency_ms: Percentiles | None
    late_ms: tuple[float, float] | None
    generator: float
    interrupted: bool

    @property
    def failed(self) -> int:
        """All errors."""
        return sum(self.errors.values())

    def json(self) -> str:
        """One JSON document, on one line."""
        return json.dumps(self.facts(), allow_nan=False)

    def facts(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)


class Tally:
    """Counts while a load runs. Times are seconds of the loop's clock; `begun`: when the warm-up ends."""

    def __init__(self) -> None:
        self.latencies = array("d")
        self.errors: Counter[str] = Counter()
        self.begun = 0.0
        self.last = 0.0
        self.unfinished = 0
        self.generator = 0.0
        self._late_sum, self._late_most, self._sent = 0.0, 0.0, 0

    @property
    def failed(self) -> int:
        """All errors."""
        return sum(self.errors.values())

    def sent(self, late: float = 0.0) -> None:
        """A request is on its way, `late` seconds after it was scheduled."""
        self.unfinished += 1
        self._sent += 1
        self._late_sum += late
        self._late_most = max(self._late_most, late)

    def ended(self, latency: float, now: float, error: str | None) -> None:
        """A request was answered, or failed."""
        self.unfinished -= 1
        self.last = max(self.last, now)
        if error is None:
            self.latencies.append(latency)
        elif error in self.errors or len(self.errors) < _MOST_KINDS:
            self.errors[error] += 1
        else:
            self.errors["other"] += 1

    def late_ms(self) -> tuple[float, float] | None:
        """Mean and longest delay of sending; None where nothing was sent."""
        return (1e3 * self._late_sum / self._sent, 1e3 * self._late_most) if self._sent else None

    def percentiles(self) -> Percentiles | None:
        """Of the good answers; None without any."""
        if not self.latencies:
            return None
        taken = np.frombuffer(self.latencies, np.float64) * 1e3
        p50, p90, p95, p99 = np.percentile(taken, _SHARES, method="inverted_cdf").tolist()
        return Percentiles(float(taken.mean()), p50, p90, p95, p99, float(taken.max()))
