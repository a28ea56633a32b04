"""From what was measured of finished trainings to the figures of a table. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from compressor.evaluate.resampling import difference_over_seeds_interval
from compressor.pipeline.ablation.comparison import BASE, Training, Variant
from compressor.pipeline.ablation.measured import Measured
from compressor.report.ablation.results import (
    Difference,
    Failure,
    Spread,
    TrainingFigures,
    VariantFigures,
)

Found = Mapping[int, Measured]
"""Finished trainings of one variant by seed."""


def variant_figures(
    variant: Variant, found: Found, base: Found, failures: Sequence[Failure], resamples: int
) -> VariantFigures:
    """One row: mean and spread over the seeds that are there, and the paired difference to the recipe."""
    trainings = [_training(variant, seed, found[seed], base.get(seed)) for seed in sorted(found)]
    return VariantFigures(
        name=variant.name,
        overrides=list(variant.overrides),
        refusal=variant.refusal,
        trainings=trainings,
        failures=list(failures),
        value=spread([training.value for training in trainings]),
        figures=_spreads([training.figures for training in trainings]),
        difference=None if variant.name == BASE else _difference(found, base, resamples),
    )


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and sample standard deviation; None of no value."""
    if not values:
        return None
    return Spread(mean=mean(values), sd=stdev(values) if len(values) > 1 else None, seeds=len(values))


def _spreads(figures: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """By key; a figure that a training lacks counts over the others."""
    found = {
        key: spread([each[key] for each in figures if key in each])
        for key in dict.fromkeys(key for each in figures for key in each)
    }
    return {key: each for key, each in found.items() if each is not None}


def _difference(found: Found, base: Found, resamples: int) -> Difference | None:
    seeds = sorted(set(found) & set(base))
    own, theirs = ([of[seed].scores for seed in seeds] for of in (found, base))
    over = spread([one.value - other.value for one, other in zip(own, theirs, strict=True)])
    if over is None:
        return None
    interval = difference_over_seeds_interval(
        [each.compared for each in own], [each.compared for each in theirs], resamples
    )
    return Difference(**over.model_dump(), interval=interval)


def _training(variant: Variant, seed: int, found: Measured, base: Measured | None) -> TrainingFigures:
    scores, compared = found.scores, base is not None and variant.name != BASE
    return TrainingFigures(
        seed=seed,
        folder=Path(Training(variant, seed).folder).as_posix(),
        value=scores.value,
        figures=dict(scores.figures),
        difference=scores.value - base.scores.value if compared and base is not None else None,
        best_validation=found.best_validation,
        steps=found.steps,
        seconds=round(found.seconds, 2),
    )
