"""Image-text retrieval as the field reports it: recall at 1, 5 and 10 both ways, RSUM, ranks, mAP@R. Torch-
free.

Protocol (VSE++, Karpathy splits): an image query is answered by any of its captions, a caption query by its
one image. An image without captions stands in the gallery but asks nothing.

Ties are ranked pessimistically: everything that scores as high as the right answer counts as if it stood
before it, so a collapsed model, for which all pairs score the same, finds nothing. Cosines are summed in
float64 and compared at float32's resolution, in steps of 2^-23: without that, the order of summation inside a
matrix product would break such ties at random.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from compressor.errors import DataError, ModelError
from compressor.evaluate.bootstrap import rsum_interval
from compressor.report.results import Direction, ModelQuality

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]

CUTOFFS = (1, 5, 10)
RESOLUTION = 2.0**-23
"""Cosines nearer to each other than float32 can tell apart at 1 are ties."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """Where the right answers came, per query; 1 is best. Everything else (recalls, intervals) follows from
    it.

    `queries` (Q,) are the rows of the images that have captions; `image_ranks` (Q,) the best rank among
    their captions in all M texts; `image_map_r` (Q,) their average precision at R, 0 to 1, R being the
    image's number of captions. `text_ranks` (M,) is the rank of each caption's image among all N images;
    `text_to_image` (M,) that image's row.
    """

    queries: Ints
    image_ranks: Ints
    image_map_r: Floats
    text_ranks: Ints
    text_to_image: Ints
    images: int

    @property
    def image_hits(self) -> Ints:
        """How many of the cut-offs 1, 5, 10 each image query reaches (Q,)."""
        return _hits(self.image_ranks)

    @property
    def text_hits(self) -> Ints:
        """How many of the cut-offs 1, 5, 10 each caption query reaches (M,)."""
        return _hits(self.text_ranks)

    @property
    def rsum(self) -> float:
        """Sum of R@1, R@5 and R@10 both ways in percent, 0 to 600."""
        return 100.0 * float(self.image_hits.mean() + self.text_hits.mean())

    def quality(
        self,
        bootstrap: int = 0,
        seed: int = 0,
        precision: str = "fp32",
        source: Literal["bundle", "embeddings"] = "bundle",
    ) -> ModelQuality:
        """The figures of `results.json`: recalls and mAP@R in percent, RSUM with its interval of
        `bootstrap` resamples."""
        i2t = _direction(self.image_ranks, self.image_map_r)
        t2i = _direction(self.text_ranks, (self.text_ranks == 1).astype(np.float64))
        return _quality(
            i2t,
            t2i,
            images=self.images,
            captions=len(self.text_ranks),
            precision=precision,
            source=source,
            rsum_interval=rsum_interval(self, bootstrap, seed),
        )


def retrieval(image_embeds: Floats, text_embeds: Floats, text_to_image: Ints, chunk: int = 512) -> Ranks:
    """Rank every caption for every image and every image for every caption.

    `image_embeds` (N, D), `text_embeds` (M, D), `text_to_image` (M,) row of each caption's image. Rows are
    L2-normalised here; a row of zeros stays zero and ties with everything. Scores are held in blocks of at
    most `chunk` x `chunk`, so memory does not grow with the gallery beyond the embeddings themselves.

    Raises `ModelError` for an embedding that is NaN or infinite, `DataError` where shapes or rows do not fit.
    """
    owner = _checked_owner(image_embeds, text_embeds, text_to_image)
    images, texts = _unit(image_embeds, "image"), _unit(text_embeds, "text")
    order = np.argsort(owner, kind="stable")
    owner, texts = owner[order], texts[order]
    target = _target_scores(images, texts, owner, chunk)
    text_ahead = np.zeros(len(texts), np.int64)
    """Per caption query: other images that score as high as its own."""
    image_ahead = np.zeros(len(texts), np.int64)
    """Per caption as an answer: foreign captions that score as high for its image."""
    for rows in _blocks(len(images), chunk):
        first, last = np.searchsorted(owner, [rows.start, rows.stop])
        for columns in _blocks(len(texts), chunk):
            scores = _in_steps(images[rows] @ texts[columns].T)
            foreign = np.arange(rows.start, rows.stop)[:, None] != owner[columns][None, :]
            text_ahead[columns] += ((scores >= target[columns]) & foreign).sum(axis=0)
            for answers in _blocks(last - first, chunk, offset=first):
                line = owner[answers] - rows.start
                image_ahead[answers] += ((scores[line] >= target[answers, None]) & foreign[line]).sum(axis=1)
    queries, image_ranks, map_r = _per_image(owner, image_ahead)
    text_ranks = np.empty(len(texts), np.int64)
    text_ranks[order] = text_ahead + 1
    return Ranks(queries, image_ranks, map_r, text_ranks, np.asarray(text_to_image, np.int64), len(images))


def fold_mean(
    image_embeds: Floats, text_embeds: Floats, text_to_image: Ints, folds: int = 5, chunk: int = 512
) -> ModelQuality:
    """Mean over `folds` consecutive, equal parts of the images, each its own gallery.

    With the 5,000 test images of COCO and five folds this is the field's "COCO 1K" (VSE++). Images beyond a
    multiple of `folds` are refused, because leaving them out would change the split. Counts are those of
    all folds together.
    """
    owner = _checked_owner(image_embeds, text_embeds, text_to_image)
    if folds < 1 or len(image_embeds) % folds:
        raise DataError(
            f"{len(image_embeds)} images do not divide into {folds} equal folds; choose another number"
        )
    size = len(image_embeds) // folds
    parts = []
    for fold in range(folds):
        mine = np.flatnonzero((owner >= fold * size) & (owner < (fold + 1) * size))
        ranks = retrieval(
            image_embeds[fold * size : (fold + 1) * size], text_embeds[mine], owner[mine] - fold * size, chunk
        )
        parts.append(ranks.quality())
    i2t, t2i = _mean_direction([p.i2t for p in parts]), _mean_direction([p.t2i for p in parts])
    return _quality(i2t, t2i, images=len(image_embeds), captions=len(owner))


def _checked_owner(image_embeds: Floats, text_embeds: Floats, text_to_image: Ints) -> npt.NDArray[np.int64]:
    owner = np.asarray(text_to_image, np.int64)
    if image_embeds.ndim != 2 or text_embeds.ndim != 2 or image_embeds.shape[1] != text_embeds.shape[1]:
        raise DataError(
            f"image embeddings {image_embeds.shape} and text embeddings {text_embeds.shape} differ in width"
        )
    if owner.shape != (len(text_embeds),):
        raise DataError(f"{len(text_embeds)} text embeddings need as many image rows, not {owner.shape}")
    if len(owner) == 0:
        raise DataError("retrieval needs at least one caption; this split has none")
    if owner.min() < 0 or owner.max() >= len(image_embeds):
        wrong = int(np.flatnonzero((owner < 0) | (owner >= len(image_embeds)))[0])
        raise DataError(
            f"caption {wrong} names image row {owner[wrong]}, but there are {len(image_embeds)} images"
        )
    return owner


def _unit(embeds: Floats, side: str) -> npt.NDArray[np.float64]:
    wide = np.asarray(embeds, np.float64)
    bad = np.flatnonzero(~np.isfinite(wide).all(axis=1))
    if len(bad):
        raise ModelError(
            f"{len(bad)} of {len(wide)} {side} embeddings are NaN or infinite, the first in row {bad[0]}"
        )
    norm = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.where(norm > 0, norm, 1.0)


def _in_steps(cosines: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Cosines as whole numbers of `RESOLUTION`, which float32 holds exactly."""
    return np.rint(cosines / RESOLUTION).astype(np.float32)


def _target_scores(
    images: npt.NDArray[np.float64], texts: npt.NDArray[np.float64], owner: npt.NDArray[np.int64], chunk: int
) -> npt.NDArray[np.float32]:
    """Cosine of every caption with its own image (M,), in steps."""
    target = np.empty(len(texts), np.float32)
    for part in _blocks(len(texts), chunk):
        target[part] = _in_steps(np.einsum("md,md->m", images[owner[part]], texts[part]))
    return target


def _per_image(
    owner: npt.NDArray[np.int64], ahead: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Best rank and mAP@R of every image that has captions.

    An image's captions, best first, stand at positions k + (foreign captions at least as good as the k-th);
    mAP@R = 1/R sum over k of k / position_k where position_k <= R (Musgrave et al., arXiv 2003.08505).
    """
    order = np.lexsort((ahead, owner))
    queries, starts, counts = np.unique(owner, return_index=True, return_counts=True)
    k = np.arange(len(owner)) - np.repeat(starts, counts) + 1
    position = k + ahead[order]
    relevant = np.repeat(counts, counts)
    precision = np.where(position <= relevant, k / position, 0.0)
    return queries, ahead[order][starts] + 1, np.add.reduceat(precision, starts) / counts


def _direction(ranks: Ints, average_precision: Floats) -> Direction:
    recalls = [100.0 * float((ranks <= k).mean()) for k in CUTOFFS]
    return Direction(
        r1=recalls[0],
        r5=recalls[1],
        r10=recalls[2],
        median_rank=float(np.median(ranks)),
        mean_rank=float(ranks.mean()),
        map_r=100.0 * float(average_precision.mean()),
    )


def _quality(i2t: Direction, t2i: Direction, **facts: Any) -> ModelQuality:
    recalls = {
        f"{way}_r{k}": getattr(side, f"r{k}") for way, side in (("i2t", i2t), ("t2i", t2i)) for k in CUTOFFS
    }
    return ModelQuality(**recalls, rsum=sum(recalls.values()), i2t=i2t, t2i=t2i, **facts)


def _hits(ranks: Ints) -> Ints:
    return np.sum([ranks <= k for k in CUTOFFS], axis=0, dtype=np.int64)


def _mean_direction(parts: list[Direction]) -> Direction:
    return Direction(
        **{name: float(np.mean([getattr(p, name) for p in parts])) for name in Direction.model_fields}
    )


def _blocks(length: int, chunk: int, offset: int = 0) -> Iterator[slice]:
    for start in range(0, length, chunk):
        yield slice(offset + start, offset + min(start + chunk, length))
