"""`compressor ablate --plan`: the trainings of an ablation, what of them is done, how long the rest takes."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compressor.data import missing_data
from compressor.pipeline.ablation.comparison import Comparison
from compressor.pipeline.ablation.table import AblationTable
from compressor.pipeline.progress import QuietReporter
from compressor.report.numbers import duration


def plan_ablation(comparison: Comparison) -> dict[str, Any]:
    """Every training with its state, what is refused and why, and the time left, as plain data.

    Trains nothing and writes nothing. States are unknown where data are missing; `missing` says which.
    """
    table = AblationTable(comparison, QuietReporter())
    missing = missing_data(table.base.data)
    if not missing:
        table.require_data()
    trainings = [
        {
            "variant": training.variant.name,
            "seed": training.seed,
            "state": "waits for data" if missing else table.look(training),
        }
        for training in table.trainings
    ]
    return {
        "name": table.base.name,
        "folder": str(table.folder.root),
        "command": comparison.command,
        "trainings": trainings,
        "overrides": {variant.name: list(variant.overrides) for variant in table.variants},
        "refused": {variant.name: variant.refusal for variant in table.variants if variant.refusal},
        "left": len(table.waiting),
        "seconds_left": table.seconds_left(),
        "missing": missing + (table.measure.missing() if table.waiting else []),
    }


def print_ablation_plan(plan: dict[str, Any], console: Console | None = None) -> None:
    """The plan as a table, a line a variant and a column a seed."""
    console = console or Console()
    states = {(each["variant"], each["seed"]): each["state"] for each in plan["trainings"]}
    seeds = list(dict.fromkeys(seed for _, seed in states))
    table = Table(title=escape(f"{plan['name']} in {plan['folder']}"), title_justify="left")
    for heading in ("variant", *(f"seed {seed}" for seed in seeds), "sets"):
        table.add_column(heading)
    for name in dict.fromkeys(name for name, _ in states):
        row = [states[name, seed] for seed in seeds]
        table.add_row(escape(name), *row, escape("  ".join(plan["overrides"][name]) or "nothing"))
    console.print(table)
    for name, reason in plan["refused"].items():
        console.print(
            f"  [yellow]not trained[/]  {escape(f'{name}: {reason}')}", highlight=False, soft_wrap=True
        )
    known = plan["seconds_left"] is not None
    time = f", about {duration(plan['seconds_left'])}" if known and plan["left"] else ""
    console.print(f"  {plan['left']} of {len(states)} trainings left{time}", highlight=False)
    for sentence in plan["missing"]:
        console.print(f"  [yellow]missing[/]  {escape(sentence)}", highlight=False, soft_wrap=True)
