"""`ablation.json`: every figure of an ablation. Torch-free. Run as a module it prints the schema."""

from __future__ import annotations

import json
from typing import Any

import typer
from pydantic import BaseModel, ConfigDict, Field

from compressor.recipe.data import Split
from compressor.report.results import Interval

ABLATION_VERSION = 1


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class Spread(_Strict):
    """A figure over the seeds that are there."""

    mean: float
    sd: float | None = Field(None, description="Sample standard deviation; null for one seed.")
    seeds: int = Field(ge=1)


class Difference(Spread):
    """RSUM minus that of the recipe as it is, paired by seed."""

    interval: Interval | None = Field(
        None,
        description="95 % interval of the mean: over images (paired bootstrap) and, from two seeds on, over "
        "trainings (Student's t on the paired differences).",
    )


class TrainingFigures(_Strict):
    """One finished training, by its last weights. Recalls in percent."""

    seed: int
    folder: str = Field(description="Relative to ablation.json.")
    i2t_r1: float
    i2t_r5: float
    i2t_r10: float
    t2i_r1: float
    t2i_r5: float
    t2i_r10: float
    rsum: float
    difference: float | None = Field(
        None,
        description="RSUM minus that of the recipe as it is with the same seed; null without the latter.",
    )
    best_rsum: float | None = Field(None, description="Highest RSUM on `val` while training.")
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
    rsum: Spread | None = None
    i2t_r1: Spread | None = None
    t2i_r1: Spread | None = None
    difference: Difference | None = Field(None, description="Null for the recipe as it is.")


class Ablation(_Strict):
    """The whole of ablation.json."""

    ablation_version: int = ABLATION_VERSION
    name: str
    recipe: dict[str, Any]
    command: str = Field(description="What continues or repeats it.")
    baseline: str = Field(description="The variant that is the recipe as it is.")
    split: Split
    images: int | None = Field(None, description="Null before the first training is measured.")
    captions: int | None = None
    bad_images: int = 0
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
        found = [variant for variant in self.variants if variant.rsum is not None]
        return sorted(found, key=lambda variant: -variant.rsum.mean if variant.rsum else 0.0)

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
