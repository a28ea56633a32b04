"""`compressor cache`."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from compressor.commands.options import Json, Overrides, Quiet, RecipeArgument, Runs, reporter_of


def cache(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Decode the pictures and build the store of teacher signals, nothing else."""
    from compressor.api import run as run_recipe

    run_recipe(recipe, overrides or (), runs=runs, until="cache", reporter=reporter_of(quiet, as_json))
    if as_json:
        typer.echo(json.dumps({"until": "cache"}))
