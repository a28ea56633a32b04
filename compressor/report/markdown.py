"""`report.md`: the same figures as Markdown, for a terminal, a pull request or a wiki."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from compressor.report import run_tables, tables
from compressor.report.charts import training_figures
from compressor.report.curves import Curves
from compressor.report.generation_tables import written_latency_table, written_quality
from compressor.report.headline import headline
from compressor.report.html import REHEARSAL
from compressor.report.numbers import three_figures
from compressor.report.precisions import precisions_table
from compressor.report.reproduce import command, recipe_yaml
from compressor.report.results import Results
from compressor.report.tables import Table

_SPECIAL = re.compile(r"[\\`*\[\]|~]|(?<!\w)_|_(?!\w)|^[#>+-]|^\d+(?=[.)](?:\s|$))")
_HTML = str.maketrans({"<": "&lt;", "&": "&amp;"})


def markdown_report(results: Results, curves: Mapping[str, Curves]) -> str:
    """The report as Markdown. Charts stand in report.html; where their curves begin and end is told here."""
    told = headline(results)
    parts = [f"# Compression report of {text(results.name)}", f"**{text(told.sentence)}**"]
    if results.rehearsal:
        parts.append(f"> {text(REHEARSAL)}")
    parts.append("\n".join(f"- {text(remark)}" for remark in told.remarks))
    if results.goals:
        parts += ["## Goals", markdown_table(tables.goals_table(results))]
    if results.writes:
        parts += ["## Quality", *_all(*written_quality(results))]
        parts += ["## Latency", *_all(written_latency_table(results))]
    else:
        parts += [
            "## Quality",
            *_all(tables.quality_table(results), tables.shares_table(results), tables.ranks_table(results)),
        ]
        parts += ["## Latency", *_all(tables.latency_table(results), tables.ratio_table(results))]
        parts += _all(run_tables.throughput_table(results), run_tables.preprocess_table(results))
    parts += [
        "## Size and artifacts",
        *_all(run_tables.size_table(results), *_compared(results), run_tables.artifacts_table(results)),
    ]
    parts += _written(results.examples) if results.writes else _examples(results.examples)
    parts += ["## Training", markdown_table(run_tables.training_table(results)), _curves(results, curves)]
    parts += [
        "## Data, stages and device",
        *_all(run_tables.data_table(results), run_tables.stages_table(results)),
    ]
    parts += _all(run_tables.device_table(results))
    parts += [
        "## How to reproduce",
        fenced(command(results), "sh"),
        fenced(recipe_yaml(results).rstrip(), "yaml"),
    ]
    parts += _all(run_tables.lineage_table(results))
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(table: Table) -> str:
    """A table in the pipe form, its caption above and its note below."""
    caption = f"**{text(table.caption)}**"
    if not table.rows:
        return f"{caption}: {text(table.missing)}"
    names = [f"{column.group} {column.name}".strip() for column in table.columns]
    lines = [
        "| " + " | ".join(text(name) or " " for name in names) + " |",
        "| " + " | ".join("---:" if column.numeric else "---" for column in table.columns) + " |",
        *("| " + " | ".join(text(cell.text) for cell in row) + " |" for row in table.rows),
    ]
    note = f"\n\n{text(table.note)}" if table.note else ""
    return f"{caption}\n\n" + "\n".join(lines) + note


def text(words: str) -> str:
    """Any words as plain text of one line: nothing in them is markup."""
    return _SPECIAL.sub(_escaped, " ".join(str(words).split())).translate(_HTML)


def _escaped(match: re.Match[str]) -> str:
    found = match.group()
    return f"{found}\\" if found.isdigit() else f"\\{found}"


def fenced(code: str, language: str) -> str:
    """A code block that no run of backticks inside can end."""
    longest = max((len(run) for run in _backticks(code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{code}\n{fence}"


def _backticks(code: str) -> list[str]:
    return "".join(sign if sign == "`" else " " for sign in code).split()


def _compared(results: Results) -> list[Table]:
    """The precisions side by side, where any were compared."""
    table = precisions_table(results)
    return [table] if table.rows else []


def _all(*shown: Table) -> list[str]:
    return [markdown_table(table) for table in shown]


def _curves(results: Results, curves: Mapping[str, Curves]) -> str:
    drawn = training_figures(results, curves)
    return f"Curves are drawn in report.html: {', '.join(title for title, _ in drawn)}." if drawn else ""


def _written(examples: Sequence[dict[str, Any]]) -> list[str]:
    if not examples:
        return []
    parts = ["## Examples", "Pictures stand in report.html, with the score of each text."]
    for example in examples:
        asked = f"“{text(example['question'])}”, " if "question" in example else ""
        lines = [f"- {asked}picture {text(example['id'])}"]
        lines.append(f"  - people: {text('; '.join(example['references']))}")
        lines += [f"  - {role}: {text(told['text'])}" for role, told in example["written"].items()]
        parts.append("\n".join(lines))
    return parts


def _examples(examples: Sequence[dict[str, Any]]) -> list[str]:
    if not examples:
        return []
    parts = [
        "## Examples",
        "Pictures stand in report.html. A right answer is marked with ✓, a wrong one with ✕.",
    ]
    for example in examples:
        query = example["query"]
        asked = f"“{text(query['caption'])}”" if "caption" in query else f"picture {text(query['id'])}"
        lines = [f"- {asked} ({text(example['outcome'])})"]
        for role in ("teacher", "student"):
            for answer in example.get(role) or []:
                mark = "✓" if answer["correct"] else "✕"
                shown = text(answer.get("caption") or answer["id"])
                lines.append(f"  - {role}: {mark} {shown} ({three_figures(float(answer['score']))})")
        parts.append("\n".join(lines))
    return parts
