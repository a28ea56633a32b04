"""`compressor report`: the report of a finished run, written again."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

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
        results = Results.model_validate_json(folder.results.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise DataError(
            f"{folder.results} is not a results file of this version; run the recipe again"
        ) from error
    curves = {}
    for role, facts in results.training.items():
        file = folder.root / facts.get("curve", "")
        if file.is_file():
            lines = file.read_text(encoding="utf-8").splitlines()
            curves[role] = [json.loads(line) for line in lines if line.strip()]
    return write_report(folder.root, results, curves)
