"""Arguments and options that several commands have, and what they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from compressor.pipeline.progress import Reporter

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


def reporter_of(quiet: bool, as_json: bool = False) -> Reporter:
    """What is told of a run's progress: nothing, JSON lines, plain lines, or bars in a terminal."""
    from rich.console import Console

    from compressor.pipeline.progress import JsonReporter, PlainReporter, QuietReporter, RichReporter

    if quiet:
        return QuietReporter()
    if as_json:
        return JsonReporter()
    console = Console()
    return RichReporter(console) if console.is_terminal else PlainReporter(console)
