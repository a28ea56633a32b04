"""A world small enough for fast tests: drawn pictures, captions, and encoders of a few hundred weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from compressor.data.decoded import DecodedImages
from compressor.data.loader import TrainingSet
from compressor.data.pairs import Row
from compressor.distill.job import TrainingJob
from compressor.distill.signals import Signals
from compressor.files import hash_json
from compressor.preprocess.preprocessor import Preprocessor
from compressor.preprocess.spec import ImageSpec
from compressor.preprocess.tokenizers import train_bpe
from compressor.recipe.losses import ContrastiveLoss, FeatureLoss, StaticBalance
from compressor.recipe.training import Augmentation, DistillSection
from compressor.students.encoder import Model

WORDS = (
    "red",
    "green",
    "blue",
    "round",
    "square",
    "small",
    "large",
    "left",
    "right",
    "dark",
    "bright",
    "striped",
)


class Pictures:
    """A `PairSet` of random colour fields. Row 3 has no caption; rows 0 and 1 share one."""

    split = "train"

    def __init__(
        self, count: int = 24, seed: int = 0, captions: Sequence[Sequence[str]] | None = None
    ) -> None:
        rng = np.random.default_rng(seed)
        self._pixels = rng.integers(0, 256, (count, 40, 48, 3), dtype=np.uint8)
        texts = [[" ".join(rng.choice(WORDS, 4)) for _ in range(2)] for _ in range(count)]
        texts[1][0] = texts[0][0]
        if count > 3:
            texts[3] = []
        self.set_captions(texts if captions is None else [list(c) for c in captions])

    def set_captions(self, captions: Sequence[Sequence[str]]) -> None:
        self.rows = [
            Row(f"p{i}", tuple(texts), tuple(f"p{i}#{n}" for n in range(len(texts))))
            for i, texts in enumerate(captions)
        ]

    def set_pixels(self, index: int, value: int) -> None:
        self._pixels[index] = value

    @property
    def fingerprint(self) -> str:
        return hash_json([[row.id, *row.captions] for row in self.rows] + [int(self._pixels.sum())])

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self._pixels[index])


class TinyEncoder(nn.Module):
    """A convolution, average-pooled patches, a bag of words; dropout and BatchNorm if wanted."""

    def __init__(
        self, embed_dim: int, vocabulary: int, width: int = 12, dropout: float = 0.0, batchnorm: bool = False
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.filters = nn.Conv2d(3, 4, 3, padding=1)
        self.pixels = nn.Linear(4 * 16, width)
        self.normed = nn.BatchNorm1d(width) if batchnorm else nn.LayerNorm(width)
        self.image_out = nn.Linear(width, embed_dim, bias=False)
        self.words = nn.Embedding(vocabulary, width)
        self.dropout = nn.Dropout(dropout)
        self.text_out = nn.Linear(width, embed_dim, bias=False)
        self.unused = nn.Parameter(torch.zeros(3))
        self.log_logit_scale = nn.Parameter(torch.tensor(2.0))

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        pooled = nn.functional.adaptive_avg_pool2d(self.filters(pixel_values), 4).flatten(1)
        hidden = self.dropout(torch.tanh(self.normed(self.pixels(pooled))))
        return nn.functional.normalize(self.image_out(hidden).float(), dim=1)

    def encode_text(self, input_ids: Tensor) -> Tensor:
        held = (input_ids != 0)[..., None]
        hidden = (self.words(input_ids) * held).sum(1) / held.sum(1).clamp(min=1)
        return nn.functional.normalize(self.text_out(self.dropout(torch.tanh(hidden))).float(), dim=1)

    @property
    def logit_scale(self) -> Tensor:
        return self.log_logit_scale.exp()

    @property
    def logit_bias(self) -> Tensor | None:
        return None


def tiny_model(
    name: str,
    pairs: Pictures,
    size: int = 16,
    embed_dim: int = 8,
    seed: int = 1,
    context: int = 8,
    **options: Any,
) -> Model:
    """A tiny encoder with a preprocessing of its own."""
    captions = [caption for row in pairs.rows for caption in row.captions] or ["nothing"]
    tokenizer, text = train_bpe(captions, 300, context)
    image = ImageSpec(size=size, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))
    torch.manual_seed(seed)
    encoder = TinyEncoder(embed_dim, tokenizer.vocab_size, **options)
    weights = {key: value.double().sum().item() for key, value in encoder.state_dict().items()}
    fingerprint = hash_json([name, seed, size, weights])
    return Model(name, encoder, Preprocessor(image, text, tokenizer), fingerprint)


@dataclass
class World:
    """Pictures, a student, a teacher, and the training set between them."""

    folder: Path
    pairs: Pictures
    student: Model
    teacher: Model
    rows: TrainingSet

    def job(self, folder: str = "run", signals: Signals | None = None, **changes: Any) -> TrainingJob:
        """A training of a few steps with the contrastive queue; `changes` are the section's or the job's."""
        section = {
            "losses": [ContrastiveLoss(kind="contrastive", queue=20), FeatureLoss(kind="feature")],
            "steps": 6,
            "batch_size": 8,
            "trackers": (),
            "workers": 0,
            **{key: value for key, value in changes.items() if key in DistillSection.model_fields},
        }
        rest = {key: value for key, value in changes.items() if key not in DistillSection.model_fields}
        distill = DistillSection(**section)
        job = TrainingJob(
            model=self.student,
            training_set=self.rows,
            signals=signals,
            losses=distill.losses,
            balancer=distill.balancer or StaticBalance(),
            section=distill,
            seed=0,
            folder=self.folder / folder,
        )
        return replace(job, **rest)


def build_world(
    folder: Path,
    pairs: Pictures | None = None,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    student: dict[str, Any] | None = None,
    teacher_dim: int = 6,
) -> World:
    """Student and teacher differ in picture size, context length and width."""
    pairs = pairs or Pictures()
    small = tiny_model("student", pairs, **(student or {}))
    large = tiny_model("teacher", pairs, size=20, embed_dim=teacher_dim, seed=2, context=12, width=16)
    for parameter in large.encoder.parameters():
        parameter.requires_grad_(False)
    decoded = DecodedImages.build(pairs, 32, folder / f"decoded-{pairs.fingerprint}")
    rows = TrainingSet(
        pairs, decoded, small.preprocessor, augmentation or Augmentation(), seed, [large.preprocessor]
    )
    return World(folder, pairs, small, large, rows)
