"""`compressor plan`."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from compressor.commands.options import Json, Overrides, RecipeArgument, Rehearse, Runs


def plan(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    rehearse: Rehearse = False,
    as_json: Json = False,
) -> None:
    """Say what a run would do: stages, what is done, parameters, store size, estimated hours."""
    from compressor.pipeline.plan import make_plan, print_plan
    from compressor.recipe.check import load_checked

    made = make_plan(load_checked(recipe, overrides or ()), runs, rehearse=rehearse)
    if as_json:
        typer.echo(json.dumps(made))
    else:
        print_plan(made)
