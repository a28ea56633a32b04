"""The command line: which commands there are. Each is a function in a file of `compressor.commands`."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from compressor import __version__
from compressor.commands.ablate import ablate
from compressor.commands.bench import bench
from compressor.commands.bundle import bundle
from compressor.commands.cache import cache
from compressor.commands.doctor import doctor
from compressor.commands.evaluate import evaluate
from compressor.commands.export import export
from compressor.commands.gallery import gallery
from compressor.commands.plan import plan
from compressor.commands.report import report
from compressor.commands.run import run
from compressor.commands.schema import schema
from compressor.commands.serve import serve
from compressor.commands.validate import validate
from compressor.terminal import Commands, quieten_libraries, run_program

COMMANDS = (run, validate, plan, cache, ablate, export, evaluate, report, serve, doctor, schema)
"""In the order of `--help`."""

app = typer.Typer(
    name="compressor",
    cls=Commands,
    help="Distil large CLIP and BLIP models into small ones that are measured, exported and served.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(bundle)
app.add_typer(bench)
app.add_typer(gallery)


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


def main() -> None:
    """Entry point: one sentence and an exit code for every expected failure, a traceback with `--debug`."""
    run_program(app)
