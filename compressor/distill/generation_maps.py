"""Attention maps of a BLIP that writes, teacher and student side by side: which layers, and how far apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch import Tensor, nn

from compressor.capture import AttentionCapture, AttentionMap, Which
from compressor.distill.alignment import on_grid, watch_layers
from compressor.distill.generation_tokens import Tokens
from compressor.errors import ModelError
from compressor.losses.amad import amad_loss
from compressor.losses.attention_grid import resize_attention
from compressor.losses.attention_maps import attention_mask
from compressor.recipe.losses import AMADLoss, LayerPairs
from compressor.students.blip import BlipGenerator, halves
from compressor.students.generator import Generator

Maps = Mapping[str, AttentionMap]
"""Maps by where they are and the number of their pair of layers: `image 1`, `text 1`, `cross 1`,
`question 1`, `question cross 1`."""

CLASS_TOKEN = 1


class WatchedGenerator:
    """The layers of one BLIP that a recipe compares, captured in every forward pass until `detach`."""

    def __init__(self, generator: Generator, config: AMADLoss, *, of_teacher: bool) -> None:
        """Raises `ModelError` for another kind of model or a layer that it does not have."""
        if not isinstance(generator, BlipGenerator):
            raise ModelError("amad compares the attention of two BLIPs, and this model is none")
        self._attached = ExitStack()
        self._captures: dict[str, AttentionCapture] = {}
        for name, tower, which, pairs in _places(generator, config):
            capture = watch_layers(tower, pairs, name, of_teacher=of_teacher, which=which)
            self._captures[name] = self._attached.enter_context(capture)

    @property
    def names(self) -> list[str]:
        """What `take` gives maps of, in order."""
        return [
            f"{name} {n}"
            for name, capture in self._captures.items()
            for n in range(1, len(capture.layers) + 1)
        ]

    def take(self) -> dict[str, AttentionMap]:
        """What the last forward pass left."""
        found = [each for capture in self._captures.values() for each in capture.take()]
        return dict(zip(self.names, found, strict=True))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside the block nothing is captured, and the model runs at its full speed."""
        with ExitStack() as stack:
            for capture in self._captures.values():
                stack.enter_context(capture.paused())
            yield

    def detach(self) -> None:
        """Leave the model as it was."""
        self._attached.close()


def _places(generator: BlipGenerator, config: AMADLoss) -> list[tuple[str, nn.Module, Which, LayerPairs]]:
    found: list[tuple[str, nn.Module | None, Which, LayerPairs | None]] = [
        ("image", generator.vision_model, "self", config.image),
        ("text", generator.text_decoder, "self", config.text),
        ("cross", generator.text_decoder, "cross", config.cross),
        ("question", generator.text_encoder, "self", config.question),
        ("question cross", generator.text_encoder, "cross", config.question),
    ]
    return [
        (name, tower, which, pairs)
        for name, tower, which, pairs in found
        if tower is not None and pairs is not None
    ]


class GenerationAlignment:
    """`amad` between a student whose layers are watched and the teacher's maps of the same rows.

    One term a pair of layers. Padded words are masked in rows and columns. Where the patch grids differ the
    teacher's maps are resized to the student's: rows and columns in the ViT, columns where words look at a
    picture.
    """

    def __init__(self, config: AMADLoss, student: Generator, teacher: Generator) -> None:
        """Raises `ModelError` for models without BLIP's attention or a layer that they do not have."""
        if config.variant == "projected":
            raise ModelError("amad's variant projected has one size of map, and texts have many")
        self._config = config
        self._by_row = config.reduction == "sum" or config.variant == "rkd"
        self._student = WatchedGenerator(student, config, of_teacher=False)
        self._grids = (_patch_grid(teacher), _patch_grid(student))

    def terms(self, teacher: Maps, tokens: Tokens) -> list[Tensor]:
        """How far apart each pair of layers is, over the `tokens` of the student's forward pass that has just
        been.

        Raises `ModelError` for maps that cannot be brought to the same tokens.
        """
        return [self._term(name, own, teacher[name], tokens) for name, own in self._student.take().items()]

    def counts(self, tokens: Tokens) -> list[Tensor]:
        """What each term is a mean over: entries that count, or rows."""
        rows = torch.tensor(len(tokens.target), device=tokens.target.device)
        if self._by_row:
            return [rows] * len(self._student.names)
        masks = [self._counted(name, tokens) for name in self._student.names]
        return [rows * self._picture_tokens**2 if mask is None else mask.sum() for mask in masks]

    def paused(self) -> AbstractContextManager[None]:
        """Inside the block the student runs without being watched: a validation compares no maps."""
        return self._student.paused()

    def detach(self) -> None:
        """Leave the student as it was."""
        self._student.detach()

    def _term(self, name: str, own: AttentionMap, teacher: AttentionMap, tokens: Tokens) -> Tensor:
        place = _place(name)
        theirs = teacher.weights
        if place == "image":
            theirs = on_grid(teacher, own)
        elif self._looks(place, tokens):
            theirs = resize_attention(theirs, *self._grids, CLASS_TOKEN, resize_queries=False)
        config = self._config
        try:
            assert config.variant != "projected"
            return amad_loss(
                theirs,
                own.weights,
                config.variant,
                self._counted(name, tokens),
                alignment_temperature=config.alignment_temperature,
                reduction=config.reduction,
            )
        except ValueError as error:
            raise ModelError(f"amad, {name}: {error}") from error

    def _counted(self, name: str, tokens: Tokens) -> Tensor | None:
        """The entries (B, Q, K) of the student's map that count; None for all of them, between patches."""
        place, words, asked = _place(name), tokens.predicting, tokens.question
        if place == "image":
            return None
        if self._looks(place, tokens):
            queries = words if asked is None else asked
            return attention_mask(queries, queries.new_ones(len(queries), self._picture_tokens))
        if place == "text" or asked is None:
            return attention_mask(words)
        return attention_mask(words if place == "cross" else asked, asked)

    @staticmethod
    def _looks(place: str, tokens: Tokens) -> bool:
        """True where words attend to a picture: an answer's attend to its question."""
        return place == "question cross" or (place == "cross" and tokens.question is None)

    @property
    def _picture_tokens(self) -> int:
        """Tokens of a picture to the student."""
        height, width = self._grids[1]
        return CLASS_TOKEN + height * width


def _place(name: str) -> str:
    return name.rpartition(" ")[0]


def _patch_grid(generator: Generator) -> tuple[int, int]:
    assert isinstance(generator, BlipGenerator)
    patch = halves(generator.config)[0].patch_size
    assert isinstance(patch, int)
    return generator.image_size // patch, generator.image_size // patch
