"""When to ask again: where the service did nothing, not past a deadline, not in step with others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from compressor.client.errors import ClientError, ConnectionFailedError, ServiceError
from compressor.errors import DataError


@dataclass(frozen=True, slots=True)
class Retries:
    """At most `attempts` for one request, all of them within `deadline` seconds.

    Between two lies a random share ("full jitter") of `first` seconds, doubled with every attempt up to
    `longest`; on top of what the service asks for in `Retry-After`.
    """

    attempts: int = 5
    first: float = 0.2
    longest: float = 10.0
    deadline: float = 60.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise DataError(f"a request has at least one attempt, not {self.attempts}")
        if not (0 <= self.first <= self.longest and 0 < self.deadline < math.inf):
            raise DataError("a wait is at least 0 seconds and at most the longest, and a deadline above 0")


STANDARD = Retries()


class Attempts:
    """The attempts of one request. Times are seconds of one monotonic clock, whose reading is `now`."""

    def __init__(self, retries: Retries, now: float) -> None:
        self._retries, self._until, self._made = retries, now + retries.deadline, 0

    def timeout(self, longest: float, now: float) -> float:
        """Seconds that the next attempt may take."""
        return max(min(longest, self._until - now), 1e-3)

    def wait(self, error: ClientError, now: float, share: float) -> float | None:
        """Seconds until the next attempt; None where there is none. `share`: random, in [0, 1)."""
        self._made += 1
        if self._made >= self._retries.attempts or not may_retry(error):
            return None
        asked = error.retry_after if isinstance(error, ServiceError) else None
        doubled = min(self._retries.longest, self._retries.first * 2.0 ** min(self._made - 1, 60))
        wait = (asked or 0.0) + share * doubled
        return wait if now + wait < self._until else None


def may_retry(error: ClientError) -> bool:
    """True where nothing was done: the service is full or not ready, or nobody took the request.

    A connection that ended, or a time that was up, may have left work done; that is the caller's to judge.
    """
    if isinstance(error, ServiceError):
        return error.status in (429, 503)
    return isinstance(error, ConnectionFailedError) and error.kind == "refused"


def retry_after(header: str | None, now: datetime | None = None) -> float | None:
    """Seconds of a `Retry-After` header (RFC 9110, 10.2.3: a number or a date); None for none or nonsense."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:10])
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())
