"""Which layers, channels and heads of a teacher's tower make a smaller tower, weight by weight."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import torch
from torch import Tensor

from compressor.errors import ModelError
from compressor.students.inherit_sizes import TowerShape
from compressor.teachers.wrapped import WrappedEncoder

_TEMPERATURE = "logit_scale"
"""The one weight that belongs to no tower, named alike in both libraries."""


class Axis(Enum):
    """What the rows along one dimension of a weight belong to."""

    WHOLE = auto()
    CHANNEL = auto()
    """The residual stream."""
    HEADS = auto()
    """The concatenated heads."""
    QUERY_KEY_VALUE = auto()
    """Three times the concatenated heads."""
    HIDDEN = auto()
    """The inside of an MLP."""
    SPACE = auto()
    """The shared embedding space."""


Axes = tuple[Axis, ...]
"""One entry per dimension of a weight; dimensions beyond the last entry are kept whole."""


@dataclass(frozen=True)
class TowerLayout:
    """Where a library keeps the weights of a tower.

    `layer` is keyed by what follows `layer_prefix` and the layer's number, `around` by whole names.
    """

    layer_prefix: str
    layer: Mapping[str, Axes]
    around: Mapping[str, Axes]


@dataclass(frozen=True)
class TowerPlan:
    """How one tower of the student is sliced out of the teacher's."""

    teacher: TowerShape
    student: TowerShape
    layout: TowerLayout

    @property
    def layers(self) -> tuple[int, ...]:
        """The teacher's number of each layer of the student."""
        return kept_layers(self.teacher.layers, self.student.layers)

    def source(self, name: str) -> tuple[str, Axes] | None:
        """The teacher's name and the axes of a weight of the student; None if it is not of this tower."""
        if not name.startswith(self.layout.layer_prefix):
            return (name, self.layout.around[name]) if name in self.layout.around else None
        number, _, rest = name.removeprefix(self.layout.layer_prefix).partition(".")
        if rest not in self.layout.layer:
            return None
        return f"{self.layout.layer_prefix}{self.layers[int(number)]}.{rest}", self.layout.layer[rest]

    def cut(self, weight: Tensor, axes: Axes) -> Tensor:
        """The student's part of a weight of the teacher: no value is changed, none is added."""
        for dimension, axis in enumerate(axes):
            rows = kept_rows(axis, self.teacher, self.student)
            if rows is not None and len(rows) < weight.shape[dimension]:
                weight = weight.index_select(dimension, rows.to(weight.device))
        return weight

    def describe(self) -> str:
        """The choice in words, for reports."""
        teacher, student = self.teacher, self.student
        return (
            f"layers {', '.join(str(layer) for layer in self.layers)} of {teacher.layers}, "
            f"{student.width} of {teacher.width} channels, {student.heads} of {teacher.heads} heads"
        )


@dataclass(frozen=True)
class InheritancePlan:
    """A student's description (what a checkpoint keeps to rebuild it), the slices it is made of, and how an
    empty one is built."""

    config: dict[str, Any]
    image: TowerPlan
    text: TowerPlan
    build: Callable[[], WrappedEncoder]

    def weights(self, names: Iterable[str], teacher: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The student's weights by name. Raises `ModelError` for one that plain CLIP towers do not have."""
        return {name: self._weight(name, teacher) for name in names}

    def _weight(self, name: str, teacher: Mapping[str, Tensor]) -> Tensor:
        if name == _TEMPERATURE:
            return teacher[name]
        for tower in (self.image, self.text):
            source = tower.source(name)
            if source is not None:
                return tower.cut(teacher[source[0]], source[1])
        raise ModelError(
            f"weights cannot be inherited from this teacher: it has a '{name}', which plain CLIP "
            "transformers do not have"
        )


def kept_layers(owned: int, asked: int) -> tuple[int, ...]:
    """The teacher's layers that stay: spread evenly, the first and the last always among them.

    Layer i of n is round(i (L - 1) / (n - 1)), halves up; a single layer is the first. The last one stays
    because the final norm and the projection were trained on its output. (The code of TinyCLIP, arXiv
    2309.12314, steps by L // n from the first layer: that leaves out the last one, and for n > L / 2 it takes
    just the first n.)
    """
    if asked == 1:
        return (0,)
    steps = asked - 1
    return tuple((2 * index * (owned - 1) + steps) // (2 * steps) for index in range(asked))


def kept_rows(axis: Axis, teacher: TowerShape, student: TowerShape) -> Tensor | None:
    """The rows that stay along an axis; None for all of them.

    Always the leading ones, as in TinyCLIP: the channels of a transformer have no order, so what matters is
    that every weight keeps the same ones. Of the heads the first stay, each whole; where the student's heads
    are narrower, the leading channels of each (gentler is to keep the width of a head: its products are
    scaled by the root of that width).
    """
    if axis is Axis.WHOLE:
        return None
    if axis is Axis.CHANNEL:
        return torch.arange(student.width)
    if axis is Axis.HIDDEN:
        return torch.arange(student.hidden)
    if axis is Axis.SPACE:
        return torch.arange(student.embed_dim)
    parts = 3 if axis is Axis.QUERY_KEY_VALUE else 1
    rows = torch.arange(parts * teacher.width).view(parts, teacher.heads, teacher.head_width)
    return rows[:, : student.heads, : student.head_width].flatten()
