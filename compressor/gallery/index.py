"""Search of large galleries: LanceDB's approximate index, its recall measured against exact search."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressor.gallery.columns import Mask
from compressor.gallery.exact import dots, nearest
from compressor.gallery.snapshot import Snapshot, as_matrix
from compressor.gallery.store import Table

KIND = "IVF_HNSW_SQ"
_NAME = "vector_idx"
_PROBES = 32
_AMONG = 10
_SAMPLE = 100
_BLOCK = 20_000

Found = tuple[NDArray[np.int64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Measured:
    """An index and what it finds of the ten nearest: mean over sampled vectors of the gallery as queries."""

    kind: str
    rows: int
    recall_at_10: float
    queries: int
    probes: int
    built_at_version: int

    def facts(self) -> dict[str, Any]:
        """As it is noted and shown."""
        return asdict(self)


def build_index(table: Table) -> None:
    """Build the index over all rows, in place of one that is there. Rows added later are compared one by one
    until the next `optimize`."""
    from lancedb.index import HnswSq

    table.create_index("vector", config=HnswSq(distance_type="dot"), name=_NAME, replace=True)


def has_index(table: Table) -> bool:
    """Whether an index over the vectors is there."""
    return any(index.name == _NAME for index in table.list_indices())


def unindexed(table: Table) -> int:
    """Rows that the index does not know, all of them where there is none."""
    found = table.index_stats(_NAME)
    return int(table.count_rows() if found is None else found.num_unindexed_rows)


def measure(table: Table, seed: int = 0) -> Measured:
    """Recall among the ten nearest of sampled rows, against LanceDB's own exact search of the same state."""
    version, count = table.version, table.count_rows()
    width = table.schema.field("vector").type.list_size
    places = np.random.default_rng(seed).choice(count, min(_SAMPLE, count), replace=False)
    queries = as_matrix(
        table.take_offsets(sorted(places.tolist())).select(["vector"]).to_arrow()["vector"], width
    )
    shares = []
    for query in queries:
        true = set(_asked(table, query, _AMONG, exact=True)["id"].to_pylist())
        found = set(_asked(table, query, _AMONG)["id"].to_pylist())
        shares.append(len(true & found) / max(1, len(true)))
    return Measured(KIND, count, float(np.mean(shares)), len(queries), _PROBES, version)


def search_large(snapshot: Snapshot, queries: NDArray[np.float32], k: int, mask: Mask | None) -> list[Found]:
    """The k nearest of a gallery whose vectors are on the disk; `mask` (N,) leaves only some of them.

    A filter that leaves few items is answered exactly. One that leaves many asks the index for more than k,
    until k of what it finds pass.
    """
    total = len(snapshot)
    left = total if mask is None else int(mask.sum())
    if mask is not None and left <= max(_BLOCK, 2 * k):
        return _among(snapshot, queries, k, np.flatnonzero(mask))
    return [_search_index(snapshot, query, min(k, left), mask) for query in queries]


def _search_index(snapshot: Snapshot, query: NDArray[np.float32], wanted: int, mask: Mask | None) -> Found:
    total, left = len(snapshot), len(snapshot) if mask is None else int(mask.sum())
    limit = min(total, 2 * wanted * -(-total // left) + _AMONG)
    while True:
        rows = _asked(snapshot.table, query, limit)
        place_of = snapshot.place_of
        places = np.array([place_of[id] for id in rows["id"].to_pylist()], np.int64)
        passing = np.flatnonzero(mask[places]) if mask is not None else np.arange(len(places))
        if len(passing) >= wanted:
            break
        if limit >= total:  # the index itself does not reach every row
            return _among(
                snapshot, query[None], wanted, np.flatnonzero(mask) if mask is not None else np.arange(total)
            )[0]
        limit = min(total, 4 * limit)
    scores = dots(as_matrix(rows["vector"], len(query)), query, passing)
    order = np.lexsort((places[passing], -scores))[:wanted]
    return places[passing][order], scores[order]


def _among(
    snapshot: Snapshot, queries: NDArray[np.float32], k: int, places: NDArray[np.int64]
) -> list[Found]:
    """Exact search among the items at `places`, read from the disk in blocks."""
    best: list[Found] = [(np.empty(0, np.int64), np.empty(0, np.float64)) for _ in queries]
    for start in range(0, len(places), _BLOCK):
        block = places[start : start + _BLOCK]
        rows = (
            snapshot.table.take_row_ids(snapshot.row_ids[block].tolist()).select(["id", "vector"]).to_arrow()
        )
        at = np.array([snapshot.place_of[id] for id in rows["id"].to_pylist()], np.int64)
        order = np.argsort(at)
        at, matrix = at[order], as_matrix(rows["vector"], queries.shape[1])[order]
        for number, (near, scores) in enumerate(nearest(matrix, queries, k)):
            seen = np.concatenate([best[number][0], at[near]])
            all_scores = np.concatenate([best[number][1], scores])
            kept = np.lexsort((seen, -all_scores))[:k]
            best[number] = seen[kept], all_scores[kept]
    return best


def _asked(table: Table, query: NDArray[np.float32], limit: int, exact: bool = False) -> Any:
    asked = table.search(query, vector_column_name="vector").distance_type("dot")
    asked = asked.bypass_vector_index() if exact else asked.nprobes(_PROBES).ef(max(128, 2 * limit))
    return asked.select(["id", "vector", "_distance"]).limit(limit).to_arrow()
