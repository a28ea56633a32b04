"""`compressor report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compressor.commands.options import Quiet


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
