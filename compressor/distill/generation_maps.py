"""Attention maps of a BLIP that writes, teacher and student side by side: which layers, and how far apart."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from compressor.capture import AttentionCapture, AttentionMap, Which
from compressor.distill.alignment import chosen_layers, on_grid
from compressor.errors import ModelError
from compressor.losses.amad import amad_loss
from compressor.losses.attention_grid import resize_attention
from compressor.losses.attention_maps import attention_mask
from compressor.recipe.losses import AMADLoss, LayerPairs
from compressor.students.blip import BlipGenerator, halves
from compressor.students.generator import IGNORED, Generator, GeneratorOutput

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
            capture = AttentionCapture(tower, chosen_layers(pairs, of_teacher=of_teacher), which)
            self._captures[name] = self._attached.enter_context(capture)

    def take(self) -> dict[str, AttentionMap]:
        """What the last forward pass left."""
        return {
            f"{name} {n}": found
            for name, capture in self._captures.items()
            for n, found in enumerate(capture.take(), start=1)
        }

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

    def terms(self, teacher: Maps, output: GeneratorOutput) -> list[tuple[Tensor, Tensor]]:
        """(value, what it is a mean over: entries that count, or rows) for every pair of layers.

        `output` is of the student's forward pass that has just been. Raises `ModelError` for maps that cannot
        be brought to the same tokens.
        """
        return [self._term(name, own, teacher[name], output) for name, own in self._student.take().items()]

    def detach(self) -> None:
        """Leave the student as it was."""
        self._student.detach()

    def _term(
        self, name: str, own: AttentionMap, teacher: AttentionMap, output: GeneratorOutput
    ) -> tuple[Tensor, Tensor]:
        place = name.rpartition(" ")[0]
        words, asked = predicting(output), output.question_mask
        mask: Tensor | None = None
        theirs = teacher.weights
        if place == "image":
            theirs = on_grid(teacher, own)
        elif place == "question cross" or (place == "cross" and asked is None):
            queries = words if asked is None else asked
            theirs = resize_attention(theirs, *self._grids, CLASS_TOKEN, resize_queries=False)
            mask = attention_mask(queries, queries.new_ones(len(queries), own.weights.shape[-1]))
        elif place == "text":
            mask = attention_mask(words)
        elif asked is not None:
            mask = attention_mask(words if place == "cross" else asked, asked)
        config = self._config
        try:
            assert config.variant != "projected"
            value = amad_loss(
                theirs,
                own.weights,
                config.variant,
                mask,
                alignment_temperature=config.alignment_temperature,
                reduction=config.reduction,
            )
        except ValueError as error:
            raise ModelError(f"amad, {name}: {error}") from error
        rows, entries = len(own.weights), own.weights[:, 0].numel() if mask is None else mask.sum()
        weight = torch.as_tensor(rows if self._by_row else entries, dtype=value.dtype, device=value.device)
        return value, weight


def predicting(output: GeneratorOutput) -> Tensor:
    """bool (B, T), true where a token was read and another follows it.

    The closing token is read only in rows that are shorter than the longest of their pass, and predicts
    nothing: with it, what counts would depend on how a batch is cut.
    """
    followed = output.target_mask[:, 1:]
    followed = torch.cat([followed, followed.new_zeros(len(followed), 1)], dim=1)
    return output.target_mask & (followed | (output.labels != IGNORED))


def _patch_grid(generator: Generator) -> tuple[int, int]:
    assert isinstance(generator, BlipGenerator)
    patch = halves(generator.config)[0].patch_size
    assert isinstance(patch, int)
    return generator.image_size // patch, generator.image_size // patch
