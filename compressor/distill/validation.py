"""Retrieval quality of a model while it trains: what chooses the best checkpoint."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compressor.data.augment import plain_pixels
from compressor.data.decoded import DecodedImages
from compressor.data.loader import normalize_pixels
from compressor.data.pairs import PairSet
from compressor.errors import DataError
from compressor.evaluate.retrieval import retrieval
from compressor.preprocess.preprocessor import Preprocessor
from compressor.students.encoder import Encoder

KEPT_PIXELS_BYTES = 2**30
"""Below this size the prepared pixels of the split stay in memory between validations."""


class Validation:
    """Encodes a split with the model in hand and measures retrieval in its own PyTorch precision.

    Pictures come from the decoded cache, through the model's own geometry. Call it with an encoder in
    evaluation mode; it gives `rsum` (0 to 600) and recalls in percent.
    """

    def __init__(
        self, pairs: PairSet, decoded: DecodedImages, preprocessor: Preprocessor, batch_size: int = 64
    ) -> None:
        """Raises `DataError` when the split has no caption to retrieve."""
        self._decoded = decoded
        self._spec = preprocessor.image
        self._batch_size = batch_size
        rows = [pairs.rows[i] for i in decoded.kept]
        captions = [caption for row in rows for caption in row.captions]
        if not captions:
            raise DataError(f"the {pairs.split} split has no captions, so validation has nothing to retrieve")
        self._input_ids = torch.from_numpy(preprocessor.texts(captions))
        self._text_to_image = np.repeat(np.arange(len(rows)), [len(row.captions) for row in rows])
        self._kept: list[Tensor] | None = None

    def __call__(self, encoder: Encoder) -> dict[str, float]:
        """Figures of the encoder, by the names of `ModelQuality`."""
        image, text = self.embeddings(encoder)
        quality = retrieval(image, text, self._text_to_image).quality()
        names = ("rsum", "i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10")
        return {name: float(getattr(quality, name)) for name in names}

    @torch.inference_mode()
    def embeddings(self, encoder: Encoder) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(N, D) image rows and (M, D) text rows, captions image by image."""
        assert isinstance(encoder, nn.Module)
        device = next(encoder.parameters()).device
        image = [
            encoder.encode_image(normalize_pixels(p.to(device), self._spec)).cpu() for p in self._pixels()
        ]
        text = [encoder.encode_text(ids.to(device)).cpu() for ids in self._input_ids.split(self._batch_size)]
        return torch.cat(image).float().numpy(), torch.cat(text).float().numpy()

    def _pixels(self) -> Iterator[Tensor]:
        """Batches of (B, 3, size, size) uint8."""
        if self._kept is not None:
            yield from self._kept
            return
        keep = len(self._decoded) * 3 * self._spec.size**2 <= KEPT_PIXELS_BYTES
        kept: list[Tensor] = []
        for start in range(0, len(self._decoded), self._batch_size):
            numbers = range(start, min(start + self._batch_size, len(self._decoded)))
            batch = torch.stack([plain_pixels(self._decoded[k], self._spec) for k in numbers])
            if keep:
                kept.append(batch)
            yield batch
        if keep:
            self._kept = kept
