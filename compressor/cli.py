"""The command line: parses, calls, prints. Heavy imports stay inside the commands: `--help` is instant."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compressor import __version__
from compressor.errors import GoalsMissedError
from compressor.terminal import Commands, quieten_libraries, run_program

if TYPE_CHECKING:
    from compressor.recipe import Recipe


app = typer.Typer(
    name="compressor",
    cls=Commands,
    help="Distil large CLIP and BLIP models into small ones that are measured, exported and served.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RecipeArgument = Annotated[
    str, typer.Argument(help="A YAML file, or the name of a shipped recipe.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Overrides such as distill.epochs=2.", show_default=False, metavar="KEY=VALUE"),
]
Runs = Annotated[Path, typer.Option("--runs", help="Folder that run folders lie in.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable: one JSON document on standard output.")]
Rehearse = Annotated[
    bool,
    typer.Option(
        "--rehearse", help="Every stage with the real architectures, a handful of pairs, a few steps."
    ),
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"compressor {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug logs.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of every command."""
    if debug:
        logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(name)s: %(message)s")
    else:
        quieten_libraries()


def _checked(recipe: str, overrides: list[str] | None) -> Recipe:
    from compressor.recipe.check import check
    from compressor.recipe.load import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    check(loaded)
    return loaded.recipe


def _reporter(quiet: bool, as_json: bool) -> Any:
    from rich.console import Console

    from compressor.pipeline.progress import JsonReporter, PlainReporter, QuietReporter, RichReporter

    if quiet:
        return QuietReporter()
    if as_json:
        return JsonReporter()
    console = Console()
    return RichReporter(console) if console.is_terminal else PlainReporter(console)


@app.command()
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
        reporter=_reporter(quiet, as_json),
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


@app.command()
def validate(
    recipe: RecipeArgument, overrides: Overrides = None, quiet: Quiet = False, as_json: Json = False
) -> None:
    """Check a recipe without running anything."""
    loaded = _checked(recipe, overrides)
    if as_json:
        typer.echo(json.dumps(loaded.model_dump(mode="json")))
    elif not quiet:
        from compressor.pipeline.engines import engine_note

        typer.echo(f"{recipe}: valid")
        note = engine_note(loaded)
        if note is not None:
            typer.echo(f"note: {note}")


@app.command()
def plan(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    rehearse: Rehearse = False,
    as_json: Json = False,
) -> None:
    """Say what a run would do: stages, what is done, parameters, store size, estimated hours."""
    from compressor.pipeline.plan import make_plan, print_plan

    made = make_plan(_checked(recipe, overrides), runs, rehearse=rehearse)
    if as_json:
        typer.echo(json.dumps(made))
    else:
        print_plan(made)


@app.command()
def cache(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Decode the pictures and build the store of teacher signals, nothing else."""
    from compressor.api import run as run_recipe

    run_recipe(recipe, overrides or (), runs=runs, until="cache", reporter=_reporter(quiet, as_json))
    if as_json:
        typer.echo(json.dumps({"until": "cache"}))


@app.command()
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
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Trainings of every variant.")] = 3,
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

    ablation = compare(comparison, until=until, reporter=_reporter(quiet, as_json))
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


@app.command()
def evaluate(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder, or a run folder that holds one.")],
    kind: Annotated[
        str, typer.Option("--kind", help="Data kind: karpathy, coco_captions, table, folder, scenes ...")
    ],
    annotations: Annotated[
        Path | None, typer.Option("--annotations", help="Annotation file or table.")
    ] = None,
    images: Annotated[Path | None, typer.Option("--images", help="Folder of images.")] = None,
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "test",
    options: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Further keys of the data section.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="Artifact to evaluate; default: the bundle's.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU threads; default: all.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Measure a bundle's retrieval on data that its recipe never saw."""
    from compressor.pipeline.evaluation import evaluate_bundle, print_quality

    reporter = _reporter(quiet, False)
    try:
        figures = evaluate_bundle(
            bundle,
            kind=kind,
            annotations=annotations,
            images=images,
            split=split,
            options=options or [],
            precision=precision,
            threads=threads,
            reporter=reporter,
        )
    finally:
        reporter.close()
    if output is not None:
        from compressor.files import write_json

        write_json(output, figures)
    if not quiet:
        print_quality(figures)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A finished run folder.")],
    quiet: Quiet = False,
) -> None:
    """Write the report of a finished run again from its results.json and curves."""
    from compressor.pipeline.reporting import rewrite_report

    files = rewrite_report(folder)
    if not quiet:
        for file in files:
            typer.echo(str(file))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what this machine has, and what is missing for which feature."""
    from compressor.doctor import diagnose, print_findings

    findings = diagnose()
    if as_json:
        from dataclasses import asdict

        typer.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        print_findings(findings)


@app.command()
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


def main() -> None:
    """Entry point: one sentence and an exit code for every expected failure, a traceback with `--debug`."""
    run_program(app)
