"""The variants of a recipe: itself, its control, and what is asked for besides. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml

from compressor.errors import RecipeError
from compressor.files import hash_json
from compressor.pipeline.ablation.comparison import BASE, CONTROL, Variant
from compressor.recipe import Recipe
from compressor.recipe.check import check
from compressor.recipe.load import load_recipe
from compressor.recipe.losses import BalancerConfig

# Every variant is a student alone: it has its own control among the others, and nothing that goals judge.
_ALWAYS = ("distill.control=false", "goals=[]")


def find_variants(
    recipe: Path | str,
    overrides: Sequence[str] = (),
    *,
    losses: bool = False,
    balancers: bool = False,
    named: Mapping[str, Sequence[str]] | None = None,
) -> list[Variant]:
    """The recipe as it is, the task loss alone, and what is asked for besides, in the order of the table.

    `losses`: each loss left out and each loss alone; `balancers`: every other balancer with its defaults;
    `named`: settings by name. A variant that the recipe's checks refuse, or that is another one again, stands
    there with the reason. Raises `RecipeError` for a recipe that cannot be run itself, and for names that
    cannot be told apart.
    """
    base = _load(recipe, overrides)
    changes: dict[str, tuple[str, ...]] = {BASE: (), CONTROL: _control(base)}
    changes |= _losses(base) if losses else {}
    changes |= _balancers(base) if balancers else {}
    for name, settings in (named or {}).items():
        if name in changes:
            raise RecipeError(f"the variant '{name}' is there already; give yours another name")
        changes[name] = tuple(settings)
    found = [_variant(recipe, overrides, base, name, settings) for name, settings in changes.items()]
    _refuse_same_folder(found)
    return _without_twins(found)


def _control(base: Recipe) -> tuple[str, ...]:
    """The teacher stays in the recipe, unused: pictures are decoded and students inherited as they were."""
    unused = ("distill.losses=[{kind: task}]", "distill.balancer={kind: static}")
    # A teacher that embeds would run every step for nothing. One that writes never does; it cannot be stored.
    return unused if base.head is not None else (*unused, "distill.signals=stored")


def _losses(base: Recipe) -> dict[str, tuple[str, ...]]:
    written = {
        loss.kind: loss.model_dump(mode="json", exclude_unset=True) | {"kind": loss.kind}
        for loss in base.distill.losses
    }
    alone = {f"{kind} alone": _setting("distill.losses", [loss]) for kind, loss in written.items()}
    without = {
        f"without {kind}": _setting(
            "distill.losses", [loss for other, loss in written.items() if other != kind]
        )
        for kind in written
    }
    return alone | without


def _balancers(base: Recipe) -> dict[str, tuple[str, ...]]:
    kinds = [
        get_args(member.model_fields["kind"].annotation)[0]
        for member in get_args(get_args(BalancerConfig)[0])
    ]
    others = [kind for kind in kinds if kind != base.distill.balancer.kind]
    return {f"balancer {kind}": _setting("distill.balancer", {"kind": kind}) for kind in others}


def _setting(key: str, value: Any) -> tuple[str, ...]:
    """A setting as a person could type it."""
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf")
    )
    return (f"{key}={text.strip()}",)


def _load(recipe: Path | str, overrides: Sequence[str]) -> Recipe:
    loaded = load_recipe(recipe, [*overrides, *_ALWAYS])
    check(loaded)
    return loaded.recipe


def _variant(
    recipe: Path | str, overrides: Sequence[str], base: Recipe, name: str, settings: tuple[str, ...]
) -> Variant:
    if settings == _setting("distill.losses", []):
        return Variant(name, settings, refusal="leaves no loss to learn from")
    try:
        made = _load(recipe, [*overrides, *settings])
    except RecipeError as error:
        return Variant(name, settings, refusal="; ".join(str(error).splitlines()))
    if (made.name, made.seed) != (base.name, base.seed):
        return Variant(name, settings, refusal="sets name or seed, which are the same for all variants")
    if made.head != base.head:
        return Variant(name, settings, refusal="has a student of another kind, whose figures do not compare")
    return Variant(name, settings, made)


def _refuse_same_folder(variants: Sequence[Variant]) -> None:
    names: dict[str, str] = {}
    for variant in variants:
        other = names.setdefault(variant.folder, variant.name)
        if other != variant.name:
            raise RecipeError(f"the variants '{other}' and '{variant.name}' would share a folder; rename one")


def _without_twins(variants: Sequence[Variant]) -> list[Variant]:
    """The same recipe is trained once: of two losses, one left out is the other one alone."""
    first: dict[str, str] = {}
    found = []
    for variant in variants:
        if variant.recipe is not None:
            other = first.setdefault(hash_json(variant.recipe.model_dump(mode="json")), variant.name)
            if other != variant.name:
                variant = Variant(variant.name, variant.overrides, refusal=f"is the same recipe as '{other}'")
        found.append(variant)
    return found
