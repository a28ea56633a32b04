"""The sizes that are asked of a student and the sizes that its teacher can give."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from compressor.errors import ModelError

Side = Literal["image", "text"]


@dataclass(frozen=True)
class TowerCut:
    """What is asked of one tower; None keeps the teacher's.

    Heads that are not given follow the width, each as wide as the teacher's.
    """

    layers: int | None = None
    width: int | None = None
    heads: int | None = None


@dataclass(frozen=True)
class Cut:
    """What is asked of a student: both towers, and the width of the shared space."""

    image: TowerCut = field(default_factory=TowerCut)
    text: TowerCut = field(default_factory=TowerCut)
    embed_dim: int | None = None


@dataclass(frozen=True)
class TowerShape:
    """The sizes of a transformer tower. `hidden` is the width inside its MLPs."""

    layers: int
    width: int
    heads: int
    hidden: int
    embed_dim: int

    @property
    def head_width(self) -> int:
        """Channels of one head."""
        return self.width // self.heads


def choose_sizes(side: Side, teacher: TowerShape, cut: TowerCut) -> tuple[int, int, int]:
    """Layers, width and heads of a student's tower. Raises `ModelError` for what the teacher does not have.

    The width divides into heads that are no wider than the teacher's: to fill a wider head, heads would have
    to be joined.
    """
    layers = _within(f"{side}.layers", cut.layers, teacher.layers)
    width = _within(f"{side}.width", cut.width, teacher.width)
    if cut.heads is None and width % teacher.head_width:
        raise ModelError(
            f"inherit.{side}.width is {width}, the teacher's heads are {teacher.head_width} wide: take a "
            f"multiple of {teacher.head_width}, or give inherit.{side}.heads"
        )
    heads = width // teacher.head_width if cut.heads is None else cut.heads
    heads = _within(f"{side}.heads", heads, teacher.heads)
    if width % heads:
        raise ModelError(f"inherit.{side}.width {width} is not a multiple of inherit.{side}.heads {heads}")
    if width // heads > teacher.head_width:
        raise ModelError(
            f"inherit.{side}: {heads} heads of {width} channels are {width // heads} wide, the teacher's are "
            f"{teacher.head_width}: take at least {-(-width // teacher.head_width)} heads"
        )
    return layers, width, heads


def choose_space(asked: int | None, owned: int) -> int:
    """Width of the student's shared space. Raises `ModelError` where it is wider than the teacher's."""
    return _within("embed_dim", asked, owned)


def _within(key: str, asked: int | None, owned: int) -> int:
    if asked is not None and not 1 <= asked <= owned:
        raise ModelError(f"inherit.{key} is {asked}, the teacher has {owned}: allowed are 1 to {owned}")
    return owned if asked is None else asked
