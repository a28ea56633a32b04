"""`ablation.json`: every figure of an ablation. Torch-free. Run as a module it prints the schema."""

from __future__ import annotations

import json
from typing import Any, Literal

import typer
from pydantic import BaseModel, ConfigDict, Field

from compressor.recipe.data import Split
from compressor.report.results import Interval

ABLATION_VERSION = 2


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class Spread(_Strict):
    """A figure over the seeds that are there."""

    mean: float
    sd: float | None = Field(None, description="Sample standard deviation; null for one seed.")
    seeds: int = Field(ge=1)


class Difference(Spread):
    """The compared figure minus that of the recipe as it is, paired by seed."""

    interval: Interval | None = Field(
        None,
        description="95 % interval of the mean: over images (paired bootstrap) and, from two seeds on, over "
        "trainings (Student's t on the paired differences).",
    )


class FigureName(_Strict):
    """What a figure is called here, and in tables."""

    key: str
    label: str
    group: str = Field("", description="Heading above several labels.")


class ModelFigures(_Strict):
    """One model on the split, in percent or, of captions, in the field's scale (times 100)."""

    value: float = Field(description="The compared figure.")
    figures: dict[str, float] = Field(default_factory=dict, description="Further figures by key.")


class TrainingFigures(ModelFigures):
    """One finished training, by its last weights."""

    seed: int
    folder: str = Field(description="Relative to ablation.json.")
    difference: float | None = Field(
        None,
        description="The compared figure minus that of the recipe as it is with the same seed; null without "
        "the latter.",
    )
    best_validation: float | None = Field(
        None,
        description="On `val` while training: highest RSUM, or lowest loss of a student that writes.",
    )
    steps: int
    seconds: float = Field(description="Of training and measuring.")


class Failure(_Strict):
    """One training that could not be finished."""

    seed: int
    reason: str
    exit_code: int


class VariantFigures(_Strict):
    """One row of the table."""

    name: str
    overrides: list[str] = Field(description="Settings on top of the recipe.")
    refusal: str = Field("", description="Why it is not trained; empty where it is.")
    trainings: list[TrainingFigures] = Field(default_factory=list)
    failures: list[Failure] = Field(default_factory=list)
    value: Spread | None = Field(None, description="The compared figure.")
    figures: dict[str, Spread] = Field(default_factory=dict, description="Further figures by key.")
    difference: Difference | None = Field(None, description="Null for the recipe as it is.")


class Ablation(_Strict):
    """The whole of ablation.json."""

    ablation_version: int = ABLATION_VERSION
    name: str
    recipe: dict[str, Any]
    command: str = Field(description="What continues or repeats it.")
    baseline: str = Field(description="The variant that is the recipe as it is.")
    measured: Literal["retrieval", "captions", "answers"] = Field(description="What the student does.")
    compared: FigureName = Field(description="The figure that variants are compared by; higher is better.")
    beside: list[FigureName] = Field(
        default_factory=list, description="Further figures that tables show, in their order."
    )
    unavailable: list[str] = Field(
        default_factory=list,
        description="Why a figure that the recipe asks for is not there, a sentence each.",
    )
    split: Split
    images: int | None = Field(None, description="Null before the first training is measured.")
    texts: int | None = Field(
        None, description="Captions that are ranked or that captions are compared with, or questions."
    )
    bad_images: int = 0
    teacher: ModelFigures | None = Field(
        None, description="The recipe's own teacher on the same images; null where it is not measured."
    )
    seeds: list[int]
    resamples: int
    variants: list[VariantFigures]
    trainings: int = Field(description="In all, without those of refused variants.")
    left: int = Field(description="Trainings that are not finished.")
    seconds_left: float | None = Field(None, description="From the median of the finished ones.")
    versions: dict[str, str] = Field(default_factory=dict)

    @property
    def ranked(self) -> list[VariantFigures]:
        """Variants with a figure, the best first."""
        found = [variant for variant in self.variants if variant.value is not None]
        return sorted(found, key=lambda variant: -variant.value.mean if variant.value else 0.0)

    @property
    def failures(self) -> list[tuple[str, Failure]]:
        """(variant, failure) of every training that could not be finished."""
        return [(variant.name, failure) for variant in self.variants for failure in variant.failures]


def ablation_schema_text() -> str:
    """JSON Schema of ablation.json, as the published file holds it."""
    schema = Ablation.model_json_schema(mode="serialization")
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    typer.echo(ablation_schema_text(), nl=False)
