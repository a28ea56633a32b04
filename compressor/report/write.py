"""Writes the report of a run: report.html, report.md and MODEL_CARD.md, each whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from compressor.files import atomic_write_text
from compressor.report.curves import read_curves
from compressor.report.html import html_report
from compressor.report.markdown import markdown_report
from compressor.report.model_card import model_card
from compressor.report.results import Results


def write_report(
    run_folder: Path | str,
    results: Results,
    curves: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
) -> list[Path]:
    """Write the three files into `run_folder` and give their paths.

    `curves` are the metrics records of each trained role (`compressor.report.curves` documents a record).
    Reads nothing else: pictures of the examples stand in `results`.
    """
    folder = Path(run_folder)
    drawn = {role: read_curves(records) for role, records in (curves or {}).items()}
    texts = {
        "report.html": html_report(results, drawn),
        "report.md": markdown_report(results, drawn),
        "MODEL_CARD.md": model_card(results),
    }
    for name, text in texts.items():
        atomic_write_text(folder / name, text)
    return [folder / name for name in texts]
