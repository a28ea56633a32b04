"""What an artifact finds beside what PyTorch finds: Recall@K and the overlap of the best answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compressor.evaluate.bootstrap import difference_interval
from compressor.evaluate.retrieval import Ranks, retrieval
from compressor.export.pytorch import embed_images, embed_texts
from compressor.export.samples import RecallSet
from compressor.recipe.outcome import ParityBounds
from compressor.runtime.tower import AnyTower
from compressor.students.encoder import Encoder

BEST = 10
"""Answers of a query that are compared; a tenth of the gallery where it has fewer than a hundred."""
_RECALLS = 6  # R@1, R@5, R@10, both ways: RSUM is their sum
_BATCH = 32
_ROWS = 512
_SAME = 1e-6


@dataclass(frozen=True)
class RetrievalParity:
    """One artifact against PyTorch on the same pairs.

    `delta`: its mean of R@1, R@5, R@10 both ways minus PyTorch's, in points; `interval`: 95 %, paired
    bootstrap over images. `overlap`: see `overlap_of_best`, mean of both ways.
    """

    delta: float
    interval: tuple[float, float] | None
    overlap: float

    def fault(self, bounds: ParityBounds) -> str:
        """Why it does not pass, or nothing."""
        if self.delta < bounds.recall_delta:
            return f"Recall@K is {-self.delta:.2f} points below PyTorch's, more than {-bounds.recall_delta:g}"
        if self.overlap < bounds.overlap:
            return (
                f"only {self.overlap:.0%} of the best answers are among PyTorch's, less than "
                f"{bounds.overlap:.0%}"
            )
        return ""


def compare_retrieval(
    encoder: Encoder,
    towers: Mapping[str, tuple[AnyTower, AnyTower]],
    recall: RecallSet,
    resamples: int = 1000,
) -> dict[str, RetrievalParity]:
    """Every artifact (image tower, text tower) against PyTorch. One pass over the images serves all.

    Raises `ModelError` where an artifact's embeddings are not finite.
    """
    images: dict[str, list[NDArray[np.float32]]] = {name: [] for name in towers}
    reference: list[NDArray[np.float32]] = []
    for pixels in recall.pixel_batches():
        reference.append(embed_images(encoder, pixels))
        for name, (tower, _) in towers.items():
            images[name].append(tower.run(pixels))
    own = np.concatenate(reference), embed_texts(encoder, recall.input_ids)
    ranks = retrieval(*own, recall.text_to_image)
    starts = range(0, len(recall.input_ids), _BATCH)
    found = {}
    for name, (_, tower) in towers.items():
        texts = np.concatenate([tower.run(recall.input_ids[at : at + _BATCH]) for at in starts])
        both = np.concatenate(images[name]), texts
        found[name] = _compare(retrieval(*both, recall.text_to_image), ranks, both, own, resamples)
    return found


def _compare(
    ranks: Ranks,
    own_ranks: Ranks,
    both: tuple[NDArray[np.float32], NDArray[np.float32]],
    own: tuple[NDArray[np.float32], NDArray[np.float32]],
    resamples: int,
) -> RetrievalParity:
    interval = difference_interval(ranks, own_ranks, resamples)
    return RetrievalParity(
        (ranks.rsum - own_ranks.rsum) / _RECALLS,
        None if interval is None else (interval.low / _RECALLS, interval.high / _RECALLS),
        (overlap_of_best(own, both) + overlap_of_best(own[::-1], both[::-1])) / 2,
    )


def overlap_of_best(
    own: tuple[NDArray[np.float32], NDArray[np.float32]],
    other: tuple[NDArray[np.float32], NDArray[np.float32]],
    best: int = BEST,
) -> float:
    """Share of the `best` answers of `other` that are among those of `own`, 0 to 1, mean over queries.

    Both are (queries (N, D), gallery (M, D)) of unit rows. Where a gallery has fewer than ten times `best`
    rows, a tenth of it is compared, else chance alone would give a high share. An answer is shared if `own`
    scores it no lower than its own last one: which of equal answers comes first means nothing.
    """
    gallery = len(own[1])
    kept = min(best, max(1, gallery // 10))
    shared = 0
    for start in range(0, len(own[0]), _ROWS):
        rows = slice(start, start + _ROWS)
        scores, others = (queries[rows] @ answers.T for queries, answers in (own, other))
        least = np.partition(scores, gallery - kept, axis=1)[:, gallery - kept]
        chosen = np.argpartition(-others, kept - 1, axis=1)[:, :kept]
        shared += int((np.take_along_axis(scores, chosen, axis=1) >= least[:, None] - _SAME).sum())
    return shared / (kept * len(own[0]))
