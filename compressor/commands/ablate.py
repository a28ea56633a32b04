"""`compressor ablate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from compressor.commands.options import Json, Overrides, Quiet, RecipeArgument, Runs, reporter_of


def ablate(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    losses: Annotated[
        bool, typer.Option("--losses", help="Each loss left out, and each loss alone.")
    ] = False,
    balancers: Annotated[bool, typer.Option("--balancers", help="Every other balancer.")] = False,
    variants: Annotated[
        Path | None,
        typer.Option(
            "--variants", metavar="FILE", help="YAML: the name of a variant -> a list of overrides."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=1000, help="Trainings of every variant.")] = 3,
    split: Annotated[
        str, typer.Option("--split", help="Where quality is measured: val, test or train.")
    ] = "val",
    until: Annotated[
        int | None, typer.Option("--until", min=1, metavar="N", help="Stop after N trainings of the list.")
    ] = None,
    plan_only: Annotated[
        bool, typer.Option("--plan", help="Only list the trainings and what is done.")
    ] = False,
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compare a recipe with itself without, or with other, losses and balancers, over seeds."""
    from compressor.pipeline.ablation import Comparison

    comparison = Comparison(recipe, tuple(overrides or ()), losses, balancers, variants, seeds, split, runs)
    if plan_only:
        from compressor.pipeline.ablation_plan import plan_ablation, print_ablation_plan

        made = plan_ablation(comparison)
        if as_json:
            typer.echo(json.dumps(made))
        else:
            print_ablation_plan(made)
        return
    from compressor.pipeline.ablate import ablate as compare

    ablation = compare(comparison, until=until, reporter=reporter_of(quiet, as_json))
    if ablation is None:
        return
    if as_json:
        typer.echo(ablation.model_dump_json())
    elif not quiet:
        from compressor.report.ablation.write import print_ablation

        print_ablation(ablation, runs / f"{ablation.name}-ablation")
    for name, failure in ablation.failures:
        typer.echo(f"{name}, seed {failure.seed}: {failure.reason}", err=True)
    if ablation.failures:
        raise typer.Exit(ablation.failures[0][1].exit_code)
