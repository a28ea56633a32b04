"""A converted preprocessing is compared with the teacher's own before it is trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compressor.errors import ModelError
from compressor.preprocess.image import normalize, resize_image
from compressor.preprocess.spec import Clean, ImageSpec, TextSpec
from compressor.preprocess.text import Tokenizer, clean_text

OwnTokenizer = Callable[[Sequence[str]], NDArray[np.int64]]
OwnTransform = Callable[[Image.Image], NDArray[np.float32]]

MEAN_TOLERANCE = 0.5
"""Grey levels (of 256) that a picture may differ on average: resampling rounds differently elsewhere."""
WORST_TOLERANCE = 4.0
"""Grey levels that any single value may differ."""

SAMPLE_TEXTS = (
    "A dog runs on the beach.",
    "Two CHILDREN, one in a red coat; it's raining_hard!!",
    "  white \t space\nand   more  ",
    "Fish &amp; chips &lt;b&gt; &eacute;clair",
    "caf\u00e9 na\u00efve \u00fcber \u0130stanbul",
    "\u732b\u304c\u5ea7\u308b \u4e00\u53ea\u72d7",
    "\U0001f600 party \U0001f469\u200d\U0001f680 12345",
    "",
    " ".join(f"word{number}" for number in range(120)),
)


def convert_text(tokenizer: Tokenizer, spec: TextSpec, own: OwnTokenizer, teacher: str) -> TextSpec:
    """The specification whose cleaning makes our tokeniser agree with the teacher's own on every sample.

    The specification as given is tried first, then the other ways of cleaning. Raises `ModelError` with the
    first text whose ids differ where none agrees.
    """
    expected = np.asarray(own(SAMPLE_TEXTS))
    orders: tuple[Clean, ...] = ("none", "lower", "whitespace", "clip", "canonicalize", "siglip")
    if expected.shape[1] != spec.context_length:
        raise ModelError(
            f"{teacher}: its tokenizer makes {expected.shape[1]} tokens, not {spec.context_length}"
        )
    for clean in (spec.clean, *(clean for clean in orders if clean != spec.clean)):
        if np.array_equal(tokenizer([clean_text(text, clean) for text in SAMPLE_TEXTS]), expected):
            return spec.model_copy(update={"clean": clean})
    ours = tokenizer([clean_text(text, spec.clean) for text in SAMPLE_TEXTS])
    first = SAMPLE_TEXTS[int(np.flatnonzero((ours != expected).any(axis=1))[0])]
    raise ModelError(
        f"{teacher}: its tokenizer cannot be reproduced: {first[:40]!r} gives other ids than its own"
    )


def check_pixels(spec: ImageSpec, own: OwnTransform, teacher: str) -> float:
    """Largest difference in grey levels between our pixels and the teacher's own over a few drawn pictures.

    Raises `ModelError` where it is above `WORST_TOLERANCE` or the mean above `MEAN_TOLERANCE`.
    """
    scale = 255.0 * np.asarray(spec.std, dtype=np.float64)[:, None, None]
    worst = 0.0
    for picture in sample_pictures():
        theirs = np.asarray(own(picture), dtype=np.float64)
        if theirs.shape != (3, spec.size, spec.size):
            raise ModelError(
                f"{teacher}: its transform makes {theirs.shape}, not (3, {spec.size}, {spec.size})"
            )
        difference = np.abs(normalize(resize_image(picture, spec), spec) - theirs) * scale
        worst = max(worst, float(difference.max()))
        if difference.mean() > MEAN_TOLERANCE or difference.max() > WORST_TOLERANCE:
            raise ModelError(
                f"{teacher}: its image preprocessing cannot be reproduced: pixels differ by "
                f"{difference.mean():.2f} grey levels on average and {difference.max():.0f} at most"
            )
    return worst


@lru_cache(maxsize=1)
def sample_pictures() -> tuple[Image.Image, ...]:
    """Wide, tall and small pictures with edges, gradients and noise; always the same."""
    return tuple(_picture(width, height) for width, height in ((640, 427), (301, 500), (90, 64)))


def _picture(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width)
    y, x = np.mgrid[0:height, 0:width]
    waves = 127 + 90 * np.sin(x / 17.0)[..., None] * np.cos(y[..., None] / np.array([11.0, 23.0, 41.0]))
    squares = 60.0 * (((x // 37) + (y // 29)) % 2)[..., None]
    noise: NDArray[Any] = rng.normal(0, 8, (height, width, 3))
    return Image.fromarray(np.clip(waves + squares + noise, 0, 255).astype(np.uint8))
