"""`compressor doctor`."""

from __future__ import annotations

import json

import typer

from compressor.commands.options import Json


def doctor(as_json: Json = False) -> None:
    """Say what this machine has, and what is missing for which feature."""
    from compressor.doctor import diagnose, print_findings

    findings = diagnose()
    if as_json:
        from dataclasses import asdict

        typer.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        print_findings(findings)
