"""Embeddings of the PyTorch model: the reference that every artifact is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from compressor.preprocess.preprocessor import Preprocessor
from compressor.students.encoder import Encoder, Model


class TorchEncoder:
    """A model with the two calls of an opened bundle, so that both are evaluated by the same code."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def encode_images(
        self, images: Sequence[bytes | Image.Image], batch_size: int = 32
    ) -> NDArray[np.float32]:
        """(N, D) float32, unit rows. Raises `BadImageError` for an image that cannot be decoded."""
        return encode_in_batches(self._model.encoder, self._model.preprocessor, images, (), batch_size)[0]

    def encode_texts(self, texts: Sequence[str], batch_size: int = 32) -> NDArray[np.float32]:
        """(N, D) float32, unit rows."""
        return encode_in_batches(self._model.encoder, self._model.preprocessor, (), texts, batch_size)[1]


def encode_in_batches(
    encoder: Encoder,
    preprocessor: Preprocessor,
    images: Sequence[bytes | Image.Image],
    texts: Sequence[str],
    batch_size: int = 32,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Images and texts through the model's own preprocessing and towers: (N, D) and (M, D), unit rows.

    Runs on the encoder's device, in evaluation mode. Raises `BadImageError` for an image that cannot be
    decoded.
    """
    image_rows = [
        embed_images(encoder, preprocessor.images(images[start : start + batch_size]))
        for start in range(0, len(images), batch_size)
    ]
    text_rows = embed_texts(encoder, preprocessor.texts(texts), batch_size)
    return np.concatenate([np.zeros((0, encoder.embed_dim), np.float32), *image_rows]), text_rows


def embed_images(
    encoder: Encoder, pixel_values: NDArray[np.float32], batch_size: int = 32
) -> NDArray[np.float32]:
    """(N, 3, H, W) float32 -> (N, D) float32, in batches, without gradients."""
    return _embed(encoder, encoder.encode_image, pixel_values, batch_size)


def embed_texts(encoder: Encoder, input_ids: NDArray[np.int64], batch_size: int = 32) -> NDArray[np.float32]:
    """(N, L) int64 -> (N, D) float32, in batches, without gradients."""
    return _embed(encoder, encoder.encode_text, input_ids, batch_size)


def _embed(
    encoder: Encoder,
    encode: Callable[[Tensor], Tensor],
    inputs: NDArray[np.float32] | NDArray[np.int64],
    batch_size: int,
) -> NDArray[np.float32]:
    rows = [np.zeros((0, encoder.embed_dim), np.float32)]
    with _evaluation(encoder) as device, torch.inference_mode():
        for start in range(0, len(inputs), batch_size):
            batch = torch.from_numpy(np.ascontiguousarray(inputs[start : start + batch_size]))
            rows.append(encode(batch.to(device)).float().cpu().numpy())
    return np.concatenate(rows)


@contextmanager
def _evaluation(encoder: Encoder) -> Iterator[torch.device]:
    """Evaluation mode inside the block, each module's own mode after it; yields the encoder's device."""
    assert isinstance(encoder, nn.Module)
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval()
    try:
        yield next((parameter.device for parameter in encoder.parameters()), torch.device("cpu"))
    finally:
        for module, training in modes:
            module.training = training
