"""Random numbers that depend on a key alone: not on the order of calls, the process or the platform."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

import numpy as np

T = TypeVar("T")

_TWO_TO_64 = float(2**64)


def _digest(key: tuple[str | int, ...], size: int) -> bytes:
    # The unit separator cannot be confused with the text of a part, so ("a", 1) and ("a1",) differ.
    return blake2b("\x1f".join(map(str, key)).encode(), digest_size=size).digest()


def keyed_integer(*key: str | int) -> int:
    """A uniform integer in [0, 2**64) that is a pure function of the key."""
    return int.from_bytes(_digest(key, 8), "little")


def keyed_uniforms(*key: str | int) -> tuple[float, ...]:
    """Eight independent numbers, uniform in [0, 1), that are a pure function of the key."""
    return tuple(word / _TWO_TO_64 for word in struct.unpack("<8Q", _digest(key, 64)))


def keyed_permutation(length: int, *key: str | int) -> np.ndarray:
    """A permutation of range(length) (int64) that is a pure function of the key.

    Only the raw Philox stream is used: NumPy promises that it never changes, which it does not for
    `permutation`.
    """
    words = np.random.Philox(key=keyed_integer(*key)).random_raw(length)
    return np.argsort(words, kind="stable")


class Dice:
    """A seeded stream of choices on `random.Random.random()`, the one method whose stream Python promises."""

    def __init__(self, *key: str | int) -> None:
        self._next = random.Random(keyed_integer(*key)).random

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self._next()

    def below(self, bound: int) -> int:
        """A uniform integer in [0, bound)."""
        return int(self._next() * bound)

    def choose(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def chance(self, probability: float) -> bool:
        return self._next() < probability
