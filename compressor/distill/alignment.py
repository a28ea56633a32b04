"""Attention maps of teacher and student side by side: which layers, cut to the same tokens, how far apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from compressor.capture import (
    AttentionCapture,
    AttentionMap,
    Layers,
    NoSuchLayerError,
    Side,
    Which,
    tower,
)
from compressor.errors import ModelError
from compressor.losses.amad import ProjectedAMAD, amad_loss
from compressor.losses.attention_grid import resize_attention
from compressor.losses.attention_maps import attention_mask
from compressor.recipe.losses import AMADLoss, LayerPairs
from compressor.students.encoder import Encoder, Model
from compressor.students.text_transformer import token_mask

Maps = Mapping[str, AttentionMap]
"""Attention maps by the name of their pair of layers: `image 1`, `image 2`, `text 1`, …"""
SIDES: tuple[Side, Side] = ("image", "text")


class WatchedLayers:
    """The layers of one model that a recipe compares, captured in every forward pass until `detach`."""

    def __init__(self, encoder: Encoder, config: AMADLoss, *, of_teacher: bool) -> None:
        """Raises `ModelError` for a model without attention or a layer that it does not have."""
        assert isinstance(encoder, nn.Module)
        self._attached = ExitStack()
        self._captures: dict[Side, AttentionCapture] = {}
        for side in SIDES:
            pairs: LayerPairs | None = getattr(config, side)
            if pairs is not None:
                capture = watch_layers(tower(encoder, side), pairs, side, of_teacher=of_teacher)
                self._captures[side] = self._attached.enter_context(capture)

    def take(self, side: Side) -> dict[str, AttentionMap]:
        """What the last pass through one tower left, by the name of the pair; empty if none was asked for."""
        if side not in self._captures:
            return {}
        return {f"{side} {n}": found for n, found in enumerate(self._captures[side].take(), start=1)}

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


class Alignment(nn.Module):
    """`amad` between a student whose layers are watched and the teacher's maps of the same rows.

    One term a pair of layers. Where the patch grids differ the teacher's maps are resized
    to the student's; padding at the end of all texts is cut off, so that maps of models with and without it
    fit each other, and what is left of it is masked.
    """

    def __init__(self, config: AMADLoss, student: Model) -> None:
        """Raises `ModelError` for a student without attention or a layer that it does not have."""
        super().__init__()
        self._text = student.preprocessor.text
        self._by_row = config.reduction == "sum" or config.variant == "rkd"
        self._layers = WatchedLayers(student.encoder, config, of_teacher=False)
        self.projected = nn.ModuleDict()
        self._distance: Callable[..., Tensor] = amad_loss
        if config.variant == "projected":
            self.projected = _projections(config, student, self._layers)
        else:
            self._distance = partial(
                amad_loss,
                variant=config.variant,
                alignment_temperature=config.alignment_temperature,
                reduction=config.reduction,
            )

    def forward(
        self, teacher: Maps, input_ids: Tensor, has_caption: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The terms (T,), with gradients into the student that has just run over the same rows, and what
        each is a mean over: the number of entries that count, or of rows (T,). Means of parts of a batch,
        weighted so, give the mean of the batch (of `rkd`, which compares rows, only nearly).

        Args:
            teacher: its maps of these rows.
            input_ids: (B, L), the student's texts.
            has_caption: (B,) bool, false for rows whose text is padding alone; None if all have one.

        Raises:
            ModelError: maps that cannot be brought to the same tokens.
        """
        counts = token_mask(input_ids, self._text.pad_id, self._text.eos_id)
        if has_caption is not None:
            counts = counts & has_caption[:, None]
        terms = [
            self._term(name, own, teacher[name], counts)
            for side in SIDES
            for name, own in self._layers.take(side).items()
        ]
        values, weights = zip(*terms, strict=True)
        return torch.stack(values), torch.stack(weights)

    def _term(
        self, name: str, own: AttentionMap, teacher: AttentionMap, counts: Tensor
    ) -> tuple[Tensor, Tensor]:
        mask = None
        if own.grid is not None:
            ours, theirs = own.weights, on_grid(teacher, own)
        else:
            ours, theirs, mask = without_padding(own, teacher, counts)
        distance = dict(self.projected.items()).get(name, self._distance)
        try:
            value: Tensor = distance(theirs, ours, mask=mask)
        except ValueError as error:
            raise ModelError(f"amad, {name}: {error}") from error
        rows, entries = len(ours), ours[:, 0].numel() if mask is None else mask.sum()
        weight = torch.as_tensor(rows if self._by_row else entries, dtype=value.dtype, device=value.device)
        return value, weight

    def paused(self) -> AbstractContextManager[None]:
        """Inside the block the student runs without being watched: a validation compares no maps."""
        return self._layers.paused()

    def detach(self) -> None:
        """Leave the student as it was."""
        self._layers.detach()


def on_grid(teacher: AttentionMap, student: AttentionMap) -> Tensor:
    """The teacher's map over the student's patches. Raises `ModelError` where the other tokens differ."""
    if teacher.prefix_tokens != student.prefix_tokens or teacher.grid is None or student.grid is None:
        raise ModelError(
            f"amad compares image maps of equal class and register tokens: the teacher has "
            f"{teacher.prefix_tokens}, the student {student.prefix_tokens}; choose towers that agree"
        )
    if teacher.grid == student.grid:
        return teacher.weights
    return resize_attention(teacher.weights, teacher.grid, student.grid, student.prefix_tokens)


def without_padding(
    student: AttentionMap, teacher: AttentionMap, counts: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Student's and teacher's maps (B, H, U, U) up to the longest text, and the mask (B, U, U) of both.

    `counts` is (B, L) bool, true where a token is not padding.
    """
    used = int(counts.sum(dim=1).amax()) if len(counts) else 0
    sizes = {"teacher": teacher.weights.shape[-1], "student": student.weights.shape[-1]}
    for name, size in sizes.items():
        if size < used:
            raise ModelError(
                f"amad compares texts token by token: the {name} saw {size} tokens of a text that has {used}"
            )
    counts = counts[:, :used]
    return (
        student.weights[..., :used, :used],
        teacher.weights[..., :used, :used],
        attention_mask(counts),
    )


def watch_layers(
    model: nn.Module, pairs: LayerPairs, key: str, *, of_teacher: bool, which: Which = "self"
) -> AttentionCapture:
    """A capture of one model's layers in the order of the pairs; recipes count from 1, captures from 0.

    Raises `ModelError`, for a layer that is not there in the words of the recipe's `key`.
    """
    layers: Layers = "last"
    if isinstance(pairs, dict):
        layers = [number - 1 for number in (pairs.keys() if of_teacher else pairs.values())]
    try:
        return AttentionCapture(model, layers, which)
    except NoSuchLayerError as error:
        owner = "teacher" if of_teacher else "student"
        raise ModelError(
            f"amad, {key}: there is no layer {error.number + 1} in the {owner}, which has {error.count} "
            "there; layers are counted from 1"
        ) from error


def _projections(config: AMADLoss, student: Model, layers: WatchedLayers) -> nn.ModuleDict:
    """One learned map of maps for each pair of image layers; their size is what an empty picture shows."""
    encoder, size = student.encoder, student.preprocessor.image.size
    assert isinstance(encoder, nn.Module)
    device, training = next(encoder.parameters()).device, encoder.training
    with torch.no_grad():
        encoder.eval().encode_image(torch.zeros(1, 3, size, size, device=device))
    encoder.train(training)
    shapes = {name: found.weights.shape[-2:] for name, found in layers.take("image").items()}
    temperature, reduction = config.alignment_temperature, config.reduction
    try:
        return nn.ModuleDict(
            {
                name: ProjectedAMAD(*shape, alignment_temperature=temperature, reduction=reduction)
                for name, shape in shapes.items()
            }
        )
    except ValueError as error:  # a map too large to be projected
        raise ModelError(f"amad, variant projected: {error}") from error
