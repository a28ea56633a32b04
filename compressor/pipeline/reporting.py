"""`compressor report`: the report of a finished run, written again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from compressor.data.files import path_inside
from compressor.distill.curves import read_curves
from compressor.errors import DataError, MissingResourceError
from compressor.pipeline.folder import RunFolder
from compressor.report.results import Results
from compressor.report.write import write_report


def rewrite_report(path: Path) -> list[Path]:
    """Files written. Raises `MissingResourceError` where the folder holds no finished run."""
    folder = RunFolder(path)
    if not folder.results.is_file():
        raise MissingResourceError(
            f"{folder.results} does not exist; `compressor run` writes it when a run ends"
        )
    try:
        results = Results.model_validate_json(folder.results.read_bytes())
    except ValidationError as error:
        raise DataError(
            f"{folder.results} is not a results file of this version; run the recipe again"
        ) from error
    curves = {role: _curve(folder.root, facts) for role, facts in results.training.items()}
    return write_report(folder.root, results, {role: curve for role, curve in curves.items() if curve})


def _curve(root: Path, facts: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps of a training; none where its file is gone. Raises `DataError` for a damaged one."""
    name = facts.get("curve")
    if not isinstance(name, str):
        return []
    file = path_inside(root, name, f"{root}: the curve of a training")
    if file.is_file() and not file.read_bytes().endswith(b"\n"):  # only a run at work leaves half a line
        raise DataError(f"{file} is damaged: its end is missing; run the recipe again with --from distill")
    try:
        steps = read_curves(file)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is damaged: {error}; run the recipe again with --from distill") from error
    if not all(isinstance(step, dict) for step in steps):
        raise DataError(f"{file} is damaged: a line holds no step; run the recipe again with --from distill")
    return steps
