"""What a bundle is given, made ready."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compressor.errors import BadImageError
from compressor.preprocess.preprocessor import Preprocessor


def pixels_of(
    preprocessor: Preprocessor, images: Sequence[bytes | Image.Image], start: int = 0
) -> NDArray[np.float32]:
    """Encoded files (bytes) or PIL images -> (N, 3, size, size) float32.

    Raises `BadImageError` naming the index, counted from `start`, of the first that cannot be decoded.
    """
    try:
        return preprocessor.images(images)
    except BadImageError as first:
        # Only now is each image tried alone: a good batch pays nothing for the index in the message.
        for offset, image in enumerate(images):
            try:
                preprocessor.images([image])
            except BadImageError as error:
                raise BadImageError(f"image {start + offset}: {error.reason}") from error
        raise first


def at_least_one(batch_size: int) -> int:
    """The batch size; raises `ValueError` for one below 1."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    return batch_size
