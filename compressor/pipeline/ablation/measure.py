"""How a model is measured in an ablation: what is compared, what else is told, and what is kept of it.

There are two ways: retrieval, and what a student writes. Measuring needs torch, reading what was kept does
not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from compressor.evaluate.resampling import SummedFigure
from compressor.pipeline.ablation.last_weights import Found, Keeper
from compressor.pipeline.context import Context
from compressor.recipe import Recipe
from compressor.recipe.data import Split
from compressor.report.ablation.results import FigureName


@dataclass(frozen=True)
class Scores:
    """One model on a split."""

    compared: SummedFigure
    """What variants are compared by, as paired resampling needs it."""
    value: float
    """The same as a number."""
    figures: Mapping[str, float]
    """Further figures by key."""
    images: int
    texts: int
    bad_images: int
    unavailable: Sequence[str] = field(default_factory=tuple)
    """Why a figure is not there, a sentence each."""


class Measure(Keeper[Found], ABC):
    """One way of measuring, and the models that it is for."""

    measured: ClassVar[Literal["retrieval", "captions", "answers"]]
    compared: ClassVar[FigureName]
    best: ClassVar[str]
    """The fact of a training that holds its best validation."""

    def missing(self) -> list[str]:
        """Why nothing can be compared on this machine, a sentence each."""
        return []

    @abstractmethod
    def beside(self, keys: Sequence[str]) -> list[FigureName]:
        """Of the further figures that there are, those that tables show, in their order."""

    @abstractmethod
    def inputs(self, recipe: Recipe) -> dict[str, Any]:
        """What decides the figures, beside the model and the rows."""

    @abstractmethod
    def teaches(self, recipe: Recipe) -> bool:
        """True where the teacher can be measured like its students."""

    @abstractmethod
    def teacher(self, context: Context) -> Found:
        """The recipe's own teacher, where it `teaches`."""

    @abstractmethod
    def take(self, context: Context, split: Split, model: Found) -> tuple[list[Path], dict[str, Any]]:
        """Measure: the files that keep it in the context's folder, and the facts for its record."""

    @abstractmethod
    def read(self, context: Context, split: Split, facts: Mapping[str, Any]) -> Scores:
        """What an earlier `take` kept."""


def measure_of(recipe: Recipe) -> Measure[Any]:
    """The way in which a recipe's students are measured."""
    from compressor.pipeline.ablation.measure_retrieval import RetrievalMeasure
    from compressor.pipeline.ablation.measure_writing import AnswerMeasure, CaptionMeasure

    ways: dict[str | None, Measure[Any]] = {
        None: RetrievalMeasure(),
        "caption": CaptionMeasure(),
        "vqa": AnswerMeasure(),
    }
    return ways[recipe.head]
