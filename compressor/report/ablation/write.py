"""Writes what an ablation found: ablation.json, ablation.md and ablation.html, each whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from compressor.files import atomic_write_text, write_json
from compressor.report.ablation import tables
from compressor.report.ablation.page import ablation_page
from compressor.report.ablation.results import Ablation
from compressor.report.markdown import fenced, markdown_table, text
from compressor.report.tables import Table


def write_ablation(folder: Path, ablation: Ablation) -> list[Path]:
    """The three files."""
    files = [folder / f"ablation.{kind}" for kind in ("json", "md", "html")]
    write_json(files[0], ablation.model_dump(mode="json"))
    atomic_write_text(files[1], markdown(ablation))
    atomic_write_text(files[2], ablation_page(ablation))
    return files


def markdown(ablation: Ablation) -> str:
    """The same tables for a terminal, a pull request or a wiki."""
    absent = tables.absent_table(ablation)
    parts = [
        f"# Ablation of {text(ablation.name)}",
        f"**{text(tables.headline(ablation))}**",
        "\n".join(f"- {text(remark)}" for remark in tables.remarks(ablation)),
        markdown_table(tables.ranking_table(ablation)),
        markdown_table(absent) if absent else "",
        markdown_table(tables.trainings_table(ablation)),
        "## How to reproduce",
        fenced(ablation.command, "sh"),
        markdown_table(tables.settings_table(ablation)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def print_ablation(ablation: Ablation, folder: Path, console: Console | None = None) -> None:
    """The ranking on a terminal, what is not in it, and where the page lies."""
    console = console or Console()
    console.print()
    console.print(tables.headline(ablation), markup=False, highlight=False, soft_wrap=True)
    ranking, absent = tables.ranking_table(ablation), tables.absent_table(ablation)
    if ranking.rows:
        console.print(_for_terminal(ranking, ("Variant", ablation.compared.label, "95 % interval", "")))
    if absent is not None:
        console.print(_for_terminal(absent, ("Variant", "Why")))
    for remark in tables.remarks(ablation):
        console.print(f"  {remark}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"  page  {folder / 'ablation.html'}", markup=False, highlight=False, soft_wrap=True)


def _for_terminal(table: Table, names: Sequence[str]) -> RichTable:
    """Some columns of a table."""
    drawn = RichTable(title=escape(table.caption), title_justify="left")
    places = [place for place, column in enumerate(table.columns) if column.name in names]
    for column in (table.columns[place] for place in places):
        heading = escape(f"{column.group}\n{column.name}".strip())
        drawn.add_column(heading, justify="right" if column.numeric else "left", no_wrap=column.numeric)
    for row in table.rows:
        drawn.add_row(*(escape(row[place].text) for place in places))
    return drawn
