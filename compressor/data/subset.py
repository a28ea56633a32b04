"""Which rows belong to a split or to a limited subset: decided by hashes, never by order or luck."""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Mapping, Sequence

from PIL import Image

from compressor.data.pairs import PairSet, RawPairSet, Row
from compressor.errors import DataError
from compressor.recipe.data import Split

_SPLITS: tuple[Split, ...] = ("train", "val", "test")


class Subset:
    """Some rows of another set, in its order."""

    def __init__(self, pairs: PairSet, indices: Sequence[int]) -> None:
        self.split = pairs.split
        self._pairs = pairs
        self._indices = tuple(indices)
        self.rows: Sequence[Row] = [pairs.rows[index] for index in self._indices]
        chosen = hashlib.blake2b(digest_size=16)
        chosen.update(pairs.fingerprint.encode())
        chosen.update(",".join(map(str, self._indices)).encode())
        self.fingerprint = chosen.hexdigest()

    def image(self, index: int) -> Image.Image:
        """Row `index`, decoded. Raises `BadImageError`."""
        return self._pairs.image(self._indices[index])


class RawSubset(Subset):
    """Some rows of a set that hands out stored images too."""

    def __init__(self, pairs: RawPairSet, indices: Sequence[int]) -> None:
        super().__init__(pairs, indices)
        self._raw = pairs

    def image_bytes(self, index: int) -> bytes:
        """The image of row `index` as it is stored. Raises `BadImageError`."""
        return self._raw.image_bytes(self._indices[index])


def limited(pairs: PairSet, limit: int | None, seed: int) -> PairSet:
    """At most `limit` rows: the first ones of a shuffle by (`seed`, row id), in the order of `pairs`."""
    if limit is None or len(pairs.rows) <= limit:
        return pairs
    rows = pairs.rows
    chosen = sorted(
        heapq.nsmallest(limit, range(len(rows)), key=lambda row: _hash(f"{seed}\n{rows[row].id}"))
    )
    return RawSubset(pairs, chosen) if isinstance(pairs, RawPairSet) else Subset(pairs, chosen)


def split_by_hash(key: str, fractions: Mapping[Split, float]) -> Split:
    """The split that `key` falls into, always the same one however many others there are.

    Raises:
        DataError: the fractions are negative or do not add up to 1.
    """
    total = sum(fractions.values())
    if min(fractions.values(), default=0.0) < 0 or not math.isclose(total, 1.0, abs_tol=1e-6):
        raise DataError(f"data.split_fractions must be positive and add up to 1, not to {total:g}")
    position, edge = _hash(key) / 2**64, 0.0
    for split in _SPLITS:
        edge += fractions.get(split, 0.0)
        if position < edge:
            return split
    return next(split for split in reversed(_SPLITS) if fractions.get(split, 0.0) > 0)


def _hash(key: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )
