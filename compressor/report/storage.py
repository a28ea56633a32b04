"""`results.json` on disk and its published schema. Run as a module it prints the schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError

from compressor.errors import DataError, MissingResourceError
from compressor.files import read_json, write_json
from compressor.report.results import RESULTS_VERSION, Results


def write_results(path: Path | str, results: Results) -> None:
    """Write results.json, whole or not at all.

    The figures themselves cannot be NaN or infinite; in a free part (training, data) NaN becomes null.
    """
    write_json(path, results.model_dump(mode="json"))


def read_results(path: Path | str) -> Results:
    """Results of a finished run.

    Raises `MissingResourceError` where there is no such file, `DataError` for a newer or another form.
    """
    try:
        found = read_json(path)
    except FileNotFoundError as error:
        raise MissingResourceError(
            f"{path} does not exist; `compressor run` writes it when a run ends"
        ) from error
    version = found.get("results_version") if isinstance(found, dict) else None
    if isinstance(version, int) and version > RESULTS_VERSION:
        raise DataError(
            f"{path} has results version {version}, this compressor reads up to {RESULTS_VERSION}; upgrade it"
        )
    try:
        return Results.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path} is not a results file of this version: {where}: {first['msg']}") from error


def results_schema() -> dict[str, Any]:
    """JSON Schema of results.json, as published in docs/results.schema.json."""
    schema = Results.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_text() -> str:
    """The schema as the published file holds it."""
    return json.dumps(results_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    typer.echo(schema_text(), nl=False)
