"""Running a frozen teacher over ready pixels and tokens."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from compressor.data.loader import normalize_pixels
from compressor.errors import ModelError
from compressor.preprocess.preprocessor import ImagePreprocessor
from compressor.teachers.unimodal import AnyTeacher

Precision = Literal["no", "bf16", "fp16"]
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class FrozenTeacher:
    """A teacher in evaluation mode on one device, with its own preprocessing.

    Rows come back in fp32 on that device, without a graph, L2-normalised but for a teacher of one modality,
    which has no other; at most `batch_size` at a time go through the model. Raises `ModelError` for an
    embedding that is not finite.
    """

    def __init__(
        self,
        model: AnyTeacher,
        device: torch.device,
        batch_size: int | None = None,
        precision: Precision = "no",
    ) -> None:
        self.model = model
        self.batch_size = batch_size
        self.precision = precision
        self._encoder: Any = model.encoder
        self.dim = int(model.encoder.embed_dim)
        self.to(device)

    def to(self, device: torch.device) -> None:
        """Work on this device from now on."""
        self.device = device
        self._encoder.eval().to(device)

    def images(self, pixels: Tensor, after_piece: Callable[[], None] | None = None) -> Tensor:
        """(B, 3, H, W) uint8 in the teacher's geometry -> (B, D); `after_piece` is called after each pass."""
        return self._in_pieces(pixels, self._encode_pixels, "image", after_piece)

    def texts(self, input_ids: Tensor, after_piece: Callable[[], None] | None = None) -> Tensor:
        """(B, L) int64 of the teacher's own tokeniser -> (B, D); `after_piece` likewise."""
        return self._in_pieces(input_ids, self._encoder.encode_text, "text", after_piece)

    def _encode_pixels(self, pixels: Tensor) -> Tensor:
        preprocessor = self.model.preprocessor
        assert isinstance(preprocessor, ImagePreprocessor)
        rows: Tensor = self._encoder.encode_image(normalize_pixels(pixels, preprocessor.image))
        return rows

    def _in_pieces(
        self,
        inputs: Tensor,
        encode: Callable[[Tensor], Tensor],
        what: str,
        after_piece: Callable[[], None] | None,
    ) -> Tensor:
        pieces = []
        with torch.inference_mode(), self._autocast():
            for piece in inputs.split(self.batch_size or max(1, len(inputs))):
                pieces.append(encode(piece.to(self.device, non_blocking=True)).float())
                if after_piece is not None:
                    after_piece()
            rows = torch.cat(pieces)
            finite = bool(torch.isfinite(rows).all())
        if not finite:
            raise ModelError(
                f"the teacher '{self.model.name}' gave {what} embeddings with NaN or infinite values; "
                "check its weights, or run it in full precision"
            )
        return rows.clone()  # a tensor made in inference mode must not enter the student's graph

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision == "no":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=_DTYPES[self.precision])
