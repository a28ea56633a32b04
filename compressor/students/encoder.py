"""What every dual encoder is to the rest of the project, student or teacher, whoever wrote it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from compressor.preprocess.preprocessor import Preprocessor


@runtime_checkable
class Encoder(Protocol):
    """A torch module with two towers into one space.

    Both methods return L2-normalised fp32 rows of width `embed_dim`. The text side needs token ids alone:
    padding, end-of-text and causality are the tower's own business, so that one graph input is enough for
    every family. `logit_scale` multiplies cosines before the softmax (a scalar, already exponentiated),
    `logit_bias` is SigLIP's.
    """

    embed_dim: int

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, H, W) float32, normalised by the model's own preprocessing -> (B, embed_dim)."""
        ...

    def encode_text(self, input_ids: Tensor) -> Tensor:
        """(B, L) int64, padded by the model's own tokeniser -> (B, embed_dim)."""
        ...

    @property
    def logit_scale(self) -> Tensor: ...

    @property
    def logit_bias(self) -> Tensor | None: ...


@dataclass(frozen=True)
class Model:
    """An encoder with all that belongs to it: its own preprocessing, its identity, where it came from.

    `fingerprint` is a hash of the weights and of the preprocessing; the teacher store and the stage keys rest
    on it. `origin` is a line for reports and model cards, `licence` a note where one is known.
    """

    name: str
    encoder: Encoder
    preprocessor: Preprocessor
    fingerprint: str
    origin: str = ""
    licence: str = ""
    config: dict[str, Any] = field(default_factory=dict)
