"""A recipe with three losses, and its variants by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compressor.pipeline.ablation.comparison import Variant
from compressor.pipeline.ablation.variants import find_variants
from tests.integration.tiny import write_recipe

LOSSES: list[dict[str, Any]] = [
    {"kind": "contrastive", "queue": 64},
    {"kind": "feature", "norm": "l2"},
    {"kind": "similarity", "weight": 0.5},
]


def variants(folder: Path, *overrides: str, **options: Any) -> dict[str, Variant]:
    recipe = write_recipe(folder, distill={"losses": LOSSES}, goals=["quality.control.rsum > 1"])
    return {variant.name: variant for variant in find_variants(recipe, overrides, **options)}


def kinds(variant: Variant) -> list[str]:
    assert variant.recipe is not None
    return [loss.kind for loss in variant.recipe.distill.losses]
