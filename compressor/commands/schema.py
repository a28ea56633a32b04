"""`compressor schema`."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def schema(
    of: Annotated[str, typer.Argument(help="recipe, results, ablation or bundle.")] = "recipe",
) -> None:
    """Print the JSON Schema of recipes (for editors), results.json, ablation.json or bundle.json."""
    if of == "results":
        from compressor.report.storage import schema_text

        typer.echo(schema_text())
    elif of == "ablation":
        from compressor.report.ablation.results import ablation_schema_text

        typer.echo(ablation_schema_text(), nl=False)
    elif of == "recipe":
        from compressor.recipe.schema import recipe_json_schema

        typer.echo(json.dumps(recipe_json_schema(), indent=2))
    elif of == "bundle":
        from compressor.runtime.manifest import manifest_schema

        typer.echo(json.dumps(manifest_schema(), indent=2))
    else:
        raise typer.BadParameter(f"'{of}' has no schema; recipe, results, ablation and bundle have")
