"""A small dual encoder, its preprocessing and a few pictures, for the tests of export and runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from compressor.data.pairs import Row
from compressor.export.bundle_writer import write_bundle
from compressor.export.samples import ParitySamples
from compressor.preprocess.preprocessor import Preprocessor
from compressor.preprocess.spec import ImageSpec
from compressor.preprocess.tokenizers import train_bpe
from compressor.recipe.outcome import ExportSection
from compressor.runtime.schema import BundleManifest
from compressor.students.encoder import Model

COLOURS = ("red", "green", "blue", "yellow", "grey", "white", "black", "pink")
SHAPES = ("circle", "square", "star", "line", "ring", "cross")
SIZE, LENGTH, WIDTH = 32, 12, 24


class ToyEncoder(nn.Module):
    """Patches and a perceptron on one side, a bag of words through a perceptron on the other."""

    image_prefixes = ("patches.", "image_head.")

    def __init__(self, vocab_size: int, width: int = WIDTH) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed_dim = width
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.image_head = nn.Sequential(nn.Linear(16 * (SIZE // 8) ** 2, 64), nn.GELU(), nn.Linear(64, width))
        self.words = nn.Embedding(vocab_size, 32)
        self.text_head = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, width))
        self.dropout = nn.Dropout(0.5)
        self.log_logit_scale = nn.Parameter(torch.tensor(3.0))

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        hidden = self.patches(pixel_values).flatten(1).relu()
        return functional.normalize(self.image_head(self.dropout(hidden)), dim=-1)

    def encode_text(self, input_ids: Tensor) -> Tensor:
        hidden = functional.layer_norm(self.words(input_ids).sum(1), (32,))
        return functional.normalize(self.text_head(self.dropout(hidden)), dim=-1)

    @property
    def logit_scale(self) -> Tensor:
        return self.log_logit_scale.exp()

    @property
    def logit_bias(self) -> Tensor | None:
        return None


def captions() -> list[str]:
    return [f"a {colour} {shape}" for colour in COLOURS for shape in SHAPES]


def pictures(count: int, seed: int = 0) -> list[Image.Image]:
    """Smooth coloured noise of different sizes."""
    random = np.random.default_rng(seed)
    coarse = [random.integers(0, 256, (4, 4, 3), np.uint8) for _ in range(count)]
    return [
        Image.fromarray(grid).resize((40 + 3 * (k % 7), 48), Image.BILINEAR) for k, grid in enumerate(coarse)
    ]


def toy_preprocessor() -> Preprocessor:
    tokenizer, text = train_bpe(captions(), 300, LENGTH)
    return Preprocessor(ImageSpec(size=SIZE, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)), text, tokenizer)


def toy_model(encoder: nn.Module | None = None) -> Model:
    preprocessor = toy_preprocessor()
    return Model(
        name="toy",
        encoder=(encoder or ToyEncoder(300)).eval(),
        preprocessor=preprocessor,
        fingerprint="0" * 32,
        origin="made for a test",
        licence="none needed",
    )


@dataclass
class Pairs:
    """A `PairSet` in memory: two captions a picture."""

    images: Sequence[Image.Image]
    split: str = "val"
    fingerprint: str = "toy"
    captions_each: int = 2
    rows: list[Row] = field(init=False)

    def __post_init__(self) -> None:
        texts = captions()
        self.rows = [
            Row(
                id=f"picture {k}",
                captions=tuple(texts[(2 * k + turn) % len(texts)] for turn in range(self.captions_each)),
                caption_ids=tuple(f"{k}.{turn}" for turn in range(self.captions_each)),
            )
            for k in range(len(self.images))
        ]

    def image(self, index: int) -> Image.Image:
        return self.images[index]


def toy_samples(model: Model, count: int = 20) -> ParitySamples:
    pairs = Pairs(pictures(count))
    return ParitySamples.of_pairs(pairs, range(count), model.preprocessor, 16)


def write_toy_bundle(folder: Path, model: Model | None = None, **section: object) -> BundleManifest:
    model = model or toy_model()
    return write_bundle(
        model,
        folder,
        ExportSection.model_validate(section),
        role="student",
        samples=toy_samples(model),
        lineage={"recipe": "a test"},
    )
