"""How long a training is, which views it shows, and the learning rate at each step.

Pure functions, no torch.
"""

from __future__ import annotations

import math

from compressor.errors import DataError
from compressor.recipe.training import Augmentation, TrainingBase


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Full batches in one pass over `rows`; the last incomplete batch of an epoch is dropped.

    Raises `DataError` when there is not even one.
    """
    if rows < batch_size:
        raise DataError(
            f"the training split has {rows} usable images, fewer than one batch of {batch_size}; "
            "lower batch_size or use more data"
        )
    return rows // batch_size


def total_steps(section: TrainingBase, rows: int) -> int:
    """Optimiser steps of the whole training."""
    per_epoch = steps_per_epoch(rows, section.batch_size)
    return section.steps if section.steps is not None else per_epoch * (section.epochs or 1)


def training_epochs(section: TrainingBase, rows: int) -> int:
    """Epochs that the training enters, the last one perhaps in part."""
    return math.ceil(total_steps(section, rows) / steps_per_epoch(rows, section.batch_size))


def view_of(augmentation: Augmentation, epoch: int) -> int:
    """The augmentation view that an epoch shows.

    0 without augmentation, else a new one, cycled over `views`.
    """
    if not augmentation.active:
        return 0
    return epoch % augmentation.views if augmentation.views else epoch


def training_views(section: TrainingBase, rows: int) -> list[int]:
    """Every view that the training will show, ascending: what a teacher store must hold."""
    return sorted({view_of(section.augmentation, epoch) for epoch in range(training_epochs(section, rows))})


def learning_rate_factor(step: int, total: int, warmup: float) -> float:
    """Factor on the base rate at `step` (0-based): a linear rise, then a cosine to zero.

    The rise takes `warmup` of all steps. The first step already moves (factor 1/warm-up steps), the last one
    still does; both ends of the cosine are those of SGDR with one cycle (arXiv 1608.03983).
    """
    rising = round(warmup * total)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1.0 + math.cos(math.pi * (step - rising) / max(1, total - rising)))
