"""`compressor validate`."""

from __future__ import annotations

import json

import typer

from compressor.commands.options import Json, Overrides, Quiet, RecipeArgument


def validate(
    recipe: RecipeArgument, overrides: Overrides = None, quiet: Quiet = False, as_json: Json = False
) -> None:
    """Check a recipe without running anything."""
    from compressor.pipeline.runtimes import runtime_notes
    from compressor.recipe.check import load_checked

    checked = load_checked(recipe, overrides or ())
    if as_json:
        typer.echo(json.dumps(checked.model_dump(mode="json")))
    elif not quiet:
        typer.echo(f"{recipe}: valid")
        for note in runtime_notes(checked):
            typer.echo(f"note: {note}")
