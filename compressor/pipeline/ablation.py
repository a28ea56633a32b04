"""Which trainings an ablation is made of, and how long those that are left will take. Torch-free."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, get_args

import yaml

from compressor.errors import RecipeError
from compressor.files import hash_json
from compressor.recipe import Recipe
from compressor.recipe.check import check
from compressor.recipe.load import load_recipe
from compressor.recipe.losses import BalancerConfig
from compressor.recipe.source import Value, parse_yaml

BASE = "as it is"
"""The recipe without a change: what every variant is compared with."""
CONTROL = "task only"
"""The same student without anything of the teacher."""

# Every variant is a student alone: it has its own control among the others, and nothing that goals judge.
_ALWAYS = ("distill.control=false", "goals=[]")
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Variant:
    """One row of the table: settings on top of the recipe, and the recipe that they make of it."""

    name: str
    overrides: tuple[str, ...] = ()
    recipe: Recipe | None = None
    """None where it is not trained; `refusal` then says why."""
    refusal: str = ""

    @property
    def folder(self) -> str:
        """Name of the folder that its trainings lie in."""
        return re.sub(r"[^a-z0-9._]+", "-", self.name.lower()).strip("-.")


@dataclass(frozen=True)
class Training:
    """One variant with one seed."""

    variant: Variant
    seed: int

    @property
    def label(self) -> str:
        return f"{self.variant.name}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Below the ablation's folder."""
        return Path(self.variant.folder) / f"seed-{self.seed}"

    @property
    def recipe(self) -> Recipe:
        assert self.variant.recipe is not None
        return self.variant.recipe.model_copy(update={"seed": self.seed})


@dataclass(frozen=True)
class Comparison:
    """What is compared, as the command line says it. The recipe and its control always are."""

    recipe: Path | str
    overrides: tuple[str, ...] = ()
    losses: bool = False
    """Each loss left out, and each loss alone."""
    balancers: bool = False
    """Every other balancer."""
    variants: Path | None = None
    """A YAML file of named settings (`read_variants`)."""
    seeds: int = 3
    """So many, from the recipe's own upwards."""
    split: str = "val"
    runs: Path = Path("runs")
    """Beside the runs whose caches it shares, `<name>-ablation/` is made there."""

    @property
    def command(self) -> str:
        """What a person types for it."""
        words = ["compressor", "ablate", str(self.recipe), *self.overrides]
        words += ["--losses"] * self.losses + ["--balancers"] * self.balancers
        words += ["--variants", str(self.variants)] if self.variants is not None else []
        words += ["--seeds", str(self.seeds)]
        words += ["--split", self.split] if self.split != "val" else []
        words += ["--runs", str(self.runs)] if self.runs != Path("runs") else []
        return shlex.join(words)


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
    if base.head is not None:
        raise RecipeError(f"{base.name}: its student writes, and an ablation compares retrieval")
    changes: dict[str, tuple[str, ...]] = {BASE: (), CONTROL: _control()}
    changes |= _losses(base) if losses else {}
    changes |= _balancers(base) if balancers else {}
    for name, settings in (named or {}).items():
        if name in changes:
            raise RecipeError(f"the variant '{name}' is there already; give yours another name")
        changes[name] = tuple(settings)
    found = [_variant(recipe, overrides, base, name, settings) for name, settings in changes.items()]
    _refuse_same_folder(found)
    return _without_twins(found)


def all_trainings(variants: Iterable[Variant], seeds: int) -> list[Training]:
    """Every variant that is trained with the first seed, then with the next: a first table comes early."""
    trained = [variant for variant in variants if variant.recipe is not None]
    first = trained[0].recipe.seed if trained and trained[0].recipe is not None else 0
    return [Training(variant, first + number) for number in range(seeds) for variant in trained]


def seconds_left(finished: Mapping[str, Sequence[float]], waiting: Iterable[str]) -> float | None:
    """Seconds for the variants `waiting` (once a training), from those of finished trainings by variant.

    A variant counts with its own median, one that has none yet with the median of all. None where something
    waits and nothing is finished.
    """
    every = [seconds for times in finished.values() for seconds in times]
    names = list(waiting)
    if names and not every:
        return None
    return float(sum(median(finished.get(name) or every) for name in names))


def read_variants(path: Path) -> dict[str, tuple[str, ...]]:
    """A YAML mapping: the name of a variant -> a list of settings such as `distill.balancer.kind=dwa`.

    Raises `RecipeError` with file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text; save the file as UTF-8") from error
    whole = parse_yaml(text, str(path), path.parent)
    if whole is None or not isinstance(whole.content, dict) or not whole.content:
        raise RecipeError(f"{path}: holds no variants; write a mapping of names to lists of settings")
    return {_name(name, value): _settings(name, value) for name, value in whole.content.items()}


def _name(name: str, value: Value) -> str:
    if len(name) > _LONGEST_NAME or not name.isprintable() or not Variant(name).folder:
        raise RecipeError(
            f"{value.origin}: '{name[:_LONGEST_NAME]}' names no variant; allowed: {_LONGEST_NAME} printable "
            "characters, letters or digits among them"
        )
    return name


def _settings(name: str, value: Value) -> tuple[str, ...]:
    items = value.content if isinstance(value.content, list) else [value]
    settings = []
    for item in items:
        if not isinstance(item.content, str) or "=" not in item.content:
            raise RecipeError(
                f"{item.origin}: {name}: is no setting; write each like 'distill.balancer.kind=dwa', in "
                "quotes where it holds a colon"
            )
        settings.append(item.content)
    return tuple(settings)


def _control() -> tuple[str, ...]:
    """The teacher stays in the recipe, unused: pictures are decoded and students inherited as they were."""
    return ("distill.losses=[{kind: task}]", "distill.balancer={kind: static}", "distill.signals=stored")


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
