"""Which trainings an ablation is made of, and how long those that are left will take. Torch-free."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from compressor.recipe import Recipe

BASE = "as it is"
"""The recipe without a change: what every variant is compared with."""
CONTROL = "task only"
"""The same student without anything of the teacher."""


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
    """A YAML file of named settings (`variants_file`)."""
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
