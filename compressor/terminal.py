"""How the command line behaves at its edges: exit codes, Ctrl-C, libraries that talk."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from typing import Any

import typer
from typer.core import TyperGroup

from compressor.errors import CompressorError


class InterruptedByUserError(CompressorError):
    """Ctrl-C."""

    exit_code = 130


class Commands(TyperGroup):
    """Turns Ctrl-C into a sentence before typer ends the program without one."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command. Raises `InterruptedByUserError` after Ctrl-C."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise InterruptedByUserError(
                "interrupted; what was finished is kept and the same command continues"
            ) from error


def quieten_libraries() -> None:
    """Third-party progress bars and warnings are noise to a user; `--debug` and run.log keep the logs."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore")
    # With a handler at the root, a library's `logging.basicConfig` does not send every log to the terminal.
    logging.getLogger().addHandler(logging.NullHandler())


def run_program(app: typer.Typer) -> None:
    """Run the command line: one sentence and an exit code for a failure, a traceback with `--debug`."""
    debug = "--debug" in sys.argv[1:]
    try:
        app()
    except Exception as error:
        if debug:
            traceback.print_exc()
        elif isinstance(error, CompressorError):
            typer.echo(str(error), err=True)
        else:
            kind = type(error).__name__
            typer.echo(
                f"internal error: {kind}: {error} (`compressor --debug ...` shows the traceback)", err=True
            )
        sys.exit(error.exit_code if isinstance(error, CompressorError) else 1)
