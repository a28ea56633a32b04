"""BentoML services that the served student is measured beside.

`Nothing` takes the same requests and answers at once: what BentoML itself takes. `Tutorial` is the service
that BentoML's guides lead to: a picture or a text as the parameter, a batchable call, the bundle inside.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import ContentType
from PIL import Image

from compressor.runtime import Bundle

Jpeg = Annotated[Path, ContentType("image/jpeg")]


@bentoml.service
class Nothing:
    """Reads a request and answers a word."""

    @bentoml.api
    async def text(self, text: str) -> str:
        """A text comes in."""
        return "done"

    @bentoml.api
    async def image(self, image: Jpeg, /) -> str:
        """A file comes in."""
        return "done"


@bentoml.service(traffic={"max_concurrency": 1024, "timeout": 60})
class Tutorial:
    """The bundle of `BENCHMARK_BUNDLE` behind BentoML's own batching."""

    def __init__(self) -> None:
        self.bundle = Bundle.open(os.environ["BENCHMARK_BUNDLE"], threads=1)

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=10_000)
    def text(self, texts: list[str]) -> np.ndarray:
        """Unit rows of texts."""
        return self.bundle.encode_texts(texts)

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=10_000)
    def image(self, images: list[Image.Image]) -> np.ndarray:
        """Unit rows of pictures."""
        return self.bundle.encode_images(images)
