"""`compressor schema`."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def schema(
    of: Annotated[str, typer.Argument(help="recipe, results or ablation.")] = "recipe",
) -> None:
    """Print the JSON Schema of recipes (for editors), of results.json or of ablation.json."""
    if of == "results":
        from compressor.report.storage import schema_text

        typer.echo(schema_text())
    elif of == "ablation":
        from compressor.report.ablation.results import ablation_schema_text

        typer.echo(ablation_schema_text(), nl=False)
    elif of == "recipe":
        from compressor.recipe.schema import recipe_json_schema

        typer.echo(json.dumps(recipe_json_schema(), indent=2))
    else:
        raise typer.BadParameter(f"'{of}' has no schema; recipe, results and ablation have")
