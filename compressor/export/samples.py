"""The real samples on which an artifact is compared with the PyTorch model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compressor.data.pairs import PairSet, Row
from compressor.errors import BadImageError, DataError
from compressor.export.onnx import TowerName
from compressor.preprocess.preprocessor import Preprocessor

_BATCH = 32


@dataclass(frozen=True)
class RecallSet:
    """Pairs for the difference in Recall@K.

    `pixel_batches()` starts a new pass over the images: float32 (b, 3, H, W), `images` rows in all.
    `input_ids` int64 (M, L); caption m belongs to image row `text_to_image[m]`.
    """

    pixel_batches: Callable[[], Iterable[NDArray[np.float32]]]
    images: int
    input_ids: NDArray[np.int64]
    text_to_image: NDArray[np.int64]


@dataclass(frozen=True)
class ParitySamples:
    """`pixel_values` float32 (N, 3, H, W) and `input_ids` int64 (M, L) for the cosines; `recall` where it
    is judged."""

    pixel_values: NDArray[np.float32]
    input_ids: NDArray[np.int64]
    recall: RecallSet | None = None

    def of(self, tower: TowerName) -> NDArray[np.float32] | NDArray[np.int64]:
        """The inputs of one tower."""
        return self.pixel_values if tower == "image" else self.input_ids

    @classmethod
    def of_pairs(
        cls,
        pairs: PairSet,
        kept: Sequence[int],
        preprocessor: Preprocessor,
        samples: int,
        recall_images: int = 1000,
    ) -> ParitySamples:
        """Samples spread evenly over the rows `kept` of `pairs` (those that decode).

        At most `samples` images, and as many different captions, for the cosines; at most `recall_images`
        images with all their captions for Recall@K, decoded again at each pass so that memory does not grow
        with them. Raises `DataError` where there are fewer than two images or two different captions.
        """
        rows = [index for index in kept if pairs.rows[index].captions]
        chosen = _spread(kept, samples)
        texts = _distinct_texts(
            [pairs.rows[index] for index in _spread(rows, samples)], preprocessor, samples
        )
        if len(chosen) < 2 or len(texts) < 2:
            raise DataError(
                f"the {pairs.split} split has {len(chosen)} usable images and {len(texts)} different "
                "captions; an exported model cannot be compared with its original on fewer than two of each"
            )
        pixels = preprocessor.images([pairs.image(index) for index in chosen])
        return cls(pixels, texts, _recall_set(pairs, _spread(rows, recall_images), preprocessor))


@dataclass(frozen=True)
class CalibrationSamples:
    """Training pairs by which the range of activations is found: `pixel_values` float32 (N, 3, H, W),
    `input_ids` int64 (M, L)."""

    pixel_values: NDArray[np.float32]
    input_ids: NDArray[np.int64]

    def of(self, tower: TowerName) -> NDArray[np.float32] | NDArray[np.int64]:
        """The inputs of one tower."""
        return self.pixel_values if tower == "image" else self.input_ids

    @classmethod
    def of_pairs(cls, pairs: PairSet, preprocessor: Preprocessor, samples: int) -> CalibrationSamples:
        """At most `samples` images, evenly spread over the rows, and as many different captions, preprocessed
        as the student is served. Images that do not decode are passed over.

        Raises `DataError` where none decodes, or there is no caption.
        """
        chosen = _spread(range(len(pairs.rows)), samples)
        images = []
        for index in chosen:
            try:
                images.append(pairs.image(index))
            except BadImageError:
                continue
        with_captions = [row for row in pairs.rows if row.captions]
        rows = [with_captions[place] for place in _spread(range(len(with_captions)), samples)]
        texts = _distinct_texts(rows, preprocessor, samples)
        if not images or not len(texts):
            raise DataError(f"the {pairs.split} split has no images or no captions to calibrate on")
        return cls(preprocessor.images(images), texts)


def _recall_set(pairs: PairSet, rows: Sequence[int], preprocessor: Preprocessor) -> RecallSet:
    def batches() -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(rows), _BATCH):
            yield preprocessor.images([pairs.image(index) for index in rows[start : start + _BATCH]])

    captions = [(text, place) for place, index in enumerate(rows) for text in pairs.rows[index].captions]
    return RecallSet(
        pixel_batches=batches,
        images=len(rows),
        input_ids=preprocessor.texts([text for text, _ in captions]),
        text_to_image=np.asarray([place for _, place in captions], np.int64),
    )


def _spread(items: Sequence[int], count: int) -> list[int]:
    """At most `count` of `items`, evenly spaced, in order."""
    count = min(count, len(items))
    return [items[step * len(items) // count] for step in range(count)]


def _distinct_texts(rows: Sequence[Row], preprocessor: Preprocessor, count: int) -> NDArray[np.int64]:
    """Token ids of at most `count` captions that differ as the model sees them: everyone's first, then the
    seconds."""
    most = max((len(row.captions) for row in rows), default=0)
    captions = [row.captions[turn] for turn in range(most) for row in rows if turn < len(row.captions)]
    if not captions:
        return np.zeros((0, preprocessor.text.context_length), np.int64)
    ids = preprocessor.texts(captions)
    _, first = np.unique(ids, axis=0, return_index=True)
    return ids[np.sort(first)[:count]]
