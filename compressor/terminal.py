"""How the command line behaves at its edges: exit codes, Ctrl-C, libraries that talk, errors as JSON."""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
import traceback
import warnings
from typing import Any

import typer
from typer.core import TyperGroup

from compressor.errors import CompressorError, GoalsMissedError
from compressor.files import system_errors_named


class InterruptedByUserError(CompressorError):
    """Ctrl-C."""

    exit_code = 130


class Commands(TyperGroup):
    """Turns Ctrl-C into a sentence before typer ends the program without one."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command. Raises `InterruptedByUserError` after Ctrl-C."""
        try:
            with system_errors_named("compressor"):
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
    """Run the command line: one sentence and an exit code for a failure, a traceback with `--debug`.

    With `--json` the one document on standard output is then `{"error": sentence, "exit_code": number}`;
    missed goals are no error there but part of the results.
    """
    try:
        _run(app)
    except SystemExit as ended:
        if os.environ.get("WORLD_SIZE", "1") not in ("", "1"):
            _end_at_once(ended.code if isinstance(ended.code, int) else 0)
        raise


def _end_at_once(exit_code: int) -> None:
    """End one of several processes without the libraries' destructors.

    Those that meet a thread still running abort the process now and then, which torchrun takes for a failure
    and stops all the others.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def _run(app: typer.Typer) -> None:
    debug = "--debug" in sys.argv[1:]
    try:
        app()
    except Exception as error:
        sentence, exit_code = printable(str(error)), 1
        if isinstance(error, CompressorError):
            exit_code = error.exit_code
        else:
            kind = type(error).__name__
            sentence = f"internal error: {kind}: {sentence} (`compressor --debug ...` shows the traceback)"
        if debug:
            traceback.print_exc()
        if _wants_json() and not isinstance(error, GoalsMissedError):
            typer.echo(json.dumps({"error": sentence, "exit_code": exit_code}))
        elif not debug:
            typer.echo(sentence, err=True)
        sys.exit(exit_code)


def _wants_json() -> bool:
    """True for `--json` as a switch; `evaluate --json FILE` names a file instead."""
    return "--json" in sys.argv[1:] and "evaluate" not in sys.argv[1:]


def printable(text: str) -> str:
    """Names out of files may hold control characters, which must not steer the terminal; lines stay lines."""
    return "".join(sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1] for sign in text)
