"""Embeddings of a split through an exported bundle: what is evaluated is what is served. Torch-free."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from compressor.data.bad import BadSamples
from compressor.data.pairs import PairSet
from compressor.errors import BadImageError, DataError
from compressor.evaluate.retrieval import Ranks, retrieval

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


class PairEncoder(Protocol):
    """What encoding needs of a bundle (`compressor.runtime.bundle.Bundle` is one)."""

    def encode_images(self, images: list[Any], batch_size: int) -> npt.NDArray[np.float32]: ...

    def encode_texts(self, texts: list[str], batch_size: int) -> npt.NDArray[np.float32]: ...


@dataclass(frozen=True)
class EncodedPairs:
    """Embeddings of the usable rows of a split, in the pair set's order.

    `image_embeds` (N, D) and `text_embeds` (M, D) float32; `text_to_image` (M,) the row in `image_embeds`
    of each caption; `ids` (N,) of the images; `bad` how many images could not be used, `reasons` why: id ->
    one phrase.
    """

    image_embeds: npt.NDArray[np.float32]
    text_embeds: npt.NDArray[np.float32]
    text_to_image: npt.NDArray[np.int64]
    ids: Sequence[str]
    bad: int = 0
    reasons: dict[str, str] = field(default_factory=dict)

    def ranks(self, chunk: int = 512) -> Ranks:
        """Retrieval over these embeddings."""
        return retrieval(self.image_embeds, self.text_embeds, self.text_to_image, chunk)


def encode_pairs(
    bundle: PairEncoder,
    pairs: PairSet,
    batch_size: int = 32,
    progress: Progress | None = None,
    max_bad_fraction: float = 0.01,
) -> EncodedPairs:
    """Embed all images and captions of a split.

    An image that cannot be decoded leaves with its captions, named in the log; `DataError` beyond
    `max_bad_fraction`. `progress(done, total)` counts images and captions together.
    """
    rows = pairs.rows
    if not rows:
        raise DataError(f"the {pairs.split} split has no rows; nothing can be evaluated on it")
    total = len(rows) + sum(len(row.captions) for row in rows)
    bad = BadSamples(len(rows), max_bad_fraction, log)
    kept: list[int] = []
    parts: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(rows), batch_size):
        batch: list[Image.Image] = []
        for index in range(start, min(start + batch_size, len(rows))):
            try:
                batch.append(pairs.image(index))
                kept.append(index)
            except BadImageError as error:
                bad.add(rows[index].id, error.reason)
        if batch:
            parts.append(bundle.encode_images(batch, len(batch)))
        _tell(progress, min(start + batch_size, len(rows)), total)
    if not kept:
        raise DataError(f"none of the {len(rows)} images of the {pairs.split} split can be decoded")
    captions = [caption for index in kept for caption in rows[index].captions]
    owner = [place for place, index in enumerate(kept) for _ in rows[index].captions]
    if not captions:
        raise DataError(
            f"no image of the {pairs.split} split has a caption; retrieval cannot be measured on it"
        )
    texts = _encode_texts(
        bundle, captions, batch_size, lambda done: _tell(progress, total - len(captions) + done, total)
    )
    return EncodedPairs(
        image_embeds=np.concatenate(parts),
        text_embeds=texts,
        text_to_image=np.asarray(owner, np.int64),
        ids=[rows[index].id for index in kept],
        bad=bad.count,
        reasons=bad.reasons,
    )


def _encode_texts(
    bundle: PairEncoder, captions: Sequence[str], batch_size: int, told: Callable[[int], None]
) -> npt.NDArray[np.float32]:
    parts = []
    for start in range(0, len(captions), batch_size):
        parts.append(bundle.encode_texts(list(captions[start : start + batch_size]), batch_size))
        told(min(start + batch_size, len(captions)))
    return np.concatenate(parts)


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
