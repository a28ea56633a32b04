"""Unusable samples: counted, named in the log, and too many of them stop the run."""

from __future__ import annotations

import logging
import threading

from compressor.errors import DataError

_NAMED = 3


class BadSamples:
    """Counts unusable samples of a set of `total`; usable from several threads.

    `max_fraction` is `data.max_bad_fraction`: the share of `total` that may be unusable. Each sample counts
    once, however often it is met.
    """

    def __init__(self, total: int, max_fraction: float, log: logging.Logger | None = None) -> None:
        self.total = total
        self.max_fraction = max_fraction
        self._log = log or logging.getLogger(__name__)
        self._lock = threading.Lock()
        self._reasons: dict[str, str] = {}

    @property
    def count(self) -> int:
        return len(self._reasons)

    @property
    def reasons(self) -> dict[str, str]:
        """Why each sample is unusable, by its id, in the order they were met."""
        with self._lock:
            return dict(self._reasons)

    def add(self, sample_id: str, reason: str) -> None:
        """Note one unusable sample.

        Raises:
            DataError: more samples than allowed are unusable; names how many and the first three.
        """
        with self._lock:
            if sample_id in self._reasons:
                return
            self._reasons[sample_id] = reason
            count = len(self._reasons)
            first = list(self._reasons.items())[:_NAMED]
        self._log.warning("skipped %s: %s", sample_id, reason)
        if count > self.max_fraction * self.total:
            named = "; ".join(f"{name}: {why}" for name, why in first)
            raise DataError(
                f"{count} of {self.total} samples are unusable, more than data.max_bad_fraction = "
                f"{self.max_fraction:g} allows (first: {named})"
            )
