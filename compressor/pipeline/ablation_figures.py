"""From the ranks of finished trainings to the figures of a table. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from compressor.evaluate.bootstrap import difference_over_seeds_interval
from compressor.pipeline.ablation import BASE, Training, Variant
from compressor.pipeline.last_weights import Measured
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
        rsum=spread([training.rsum for training in trainings]),
        i2t_r1=spread([training.i2t_r1 for training in trainings]),
        t2i_r1=spread([training.t2i_r1 for training in trainings]),
        difference=None if variant.name == BASE else _difference(found, base, resamples),
    )


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and sample standard deviation; None of no value."""
    if not values:
        return None
    return Spread(mean=mean(values), sd=stdev(values) if len(values) > 1 else None, seeds=len(values))


def _difference(found: Found, base: Found, resamples: int) -> Difference | None:
    seeds = sorted(set(found) & set(base))
    own, theirs = [found[seed].ranks for seed in seeds], [base[seed].ranks for seed in seeds]
    over = spread([one.rsum - other.rsum for one, other in zip(own, theirs, strict=True)])
    if over is None:
        return None
    return Difference(
        **over.model_dump(), interval=difference_over_seeds_interval(own, theirs, resamples=resamples)
    )


def _training(variant: Variant, seed: int, found: Measured, base: Measured | None) -> TrainingFigures:
    quality = found.ranks.quality()
    recalls = {
        f"{way}_r{cutoff}": getattr(quality, f"{way}_r{cutoff}")
        for way in ("i2t", "t2i")
        for cutoff in (1, 5, 10)
    }
    compared = base is not None and variant.name != BASE
    return TrainingFigures(
        seed=seed,
        folder=Path(Training(variant, seed).folder).as_posix(),
        **recalls,
        rsum=found.ranks.rsum,
        difference=found.ranks.rsum - base.ranks.rsum if compared and base is not None else None,
        best_rsum=found.best_rsum,
        steps=found.steps,
        seconds=round(found.seconds, 2),
    )
