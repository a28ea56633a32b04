"""`compressor run`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from compressor.commands.options import Json, Overrides, Quiet, RecipeArgument, Rehearse, Runs, reporter_of
from compressor.errors import GoalsMissedError


def run(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    start: Annotated[
        str | None, typer.Option("--from", metavar="STAGE", help="Run this stage and all after it anew.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="STAGE", help="Stop after this stage.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Run every stage anew.")] = False,
    rehearse: Rehearse = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run a recipe: teacher, cache, distill, export, evaluate, benchmark, report."""
    from compressor.api import run as run_recipe

    results = run_recipe(
        recipe,
        overrides or (),
        runs=runs,
        start=start,
        until=until,
        force=force,
        rehearse=rehearse,
        reporter=reporter_of(quiet, as_json),
    )
    if results is None:
        if as_json and until:
            typer.echo(json.dumps({"until": until}))
        return
    if as_json:
        typer.echo(results.model_dump_json())
    elif not quiet:
        from compressor.report.console import print_summary

        print_summary(results, runs / results.name)
    missed = [goal.goal for goal in results.goals if goal.verdict == "missed"]
    if missed:
        raise GoalsMissedError(f"{len(missed)} of {len(results.goals)} goals missed: {'; '.join(missed)}")
