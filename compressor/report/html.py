"""`report.html`: one file that needs nothing else. No script, no network, styles and pictures inside.

Every word that comes from a recipe, a caption or a file name passes through `escape`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from itertools import groupby

from compressor.report import run_tables, tables
from compressor.report.charts import training_figures
from compressor.report.curves import Curves
from compressor.report.example_cards import example_cards
from compressor.report.figures import Figure, pareto_figure
from compressor.report.headline import headline
from compressor.report.reproduce import command, recipe_yaml
from compressor.report.results import Results
from compressor.report.tables import Cell, Table
from compressor.report.tiles import tiles

REHEARSAL = (
    "This is a rehearsal: real architectures, random weights where the real ones were not there, a handful of pairs "
    "and a few steps. Sizes and latencies are true. Quality means nothing here and is not judged."
)
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def html_report(results: Results, curves: Mapping[str, Curves]) -> str:
    """The page. `curves` by role, for the training section."""
    told = headline(results)
    sections = [section for section in _sections(results, curves) if section]
    links = "".join(f'<li><a href="#{key}">{title}</a></li>' for key, title, _ in sections)
    remarks = "".join(f"<li>{escape(remark)}</li>" for remark in told.remarks)
    banner = f'<p class="banner" role="note">{escape(REHEARSAL)}</p>' if results.rehearsal else ""
    body = "".join(
        f'<section id="{key}" aria-labelledby="{key}-h"><h2 id="{key}-h">{title}</h2>{content}</section>'
        for key, title, content in sections
    )
    version = escape(str(results.lineage.get("compressor", "")))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(results.name)}: compression report</title><style>{_style()}</style></head><body>"
        f'<header><p class="eyebrow">Compression report of <b>{escape(results.name)}</b></p>'
        f'<h1>{escape(told.sentence)}</h1>{banner}<ul class="remarks">{remarks}</ul>{tiles(results)}'
        f'<nav aria-label="Contents"><ul>{links}</ul></nav></header><main>{body}</main>'
        f"<footer>Written by compressor {version} from results.json. Every figure was measured in this run, teacher "
        "and student on the same data, runtime and machine.</footer></body></html>\n"
    )


def html_table(table: Table, kind: str = "figures") -> str:
    """A table in a region that scrolls on its own; repeated row headings are shown once and read every time."""
    if not table.rows:
        return f'<p class="none">{escape(table.caption)}: not available.</p>'
    label = escape(table.caption, quote=True)
    heads = "" if kind == "key" else f"<thead>{_groups(table)}{_heads(table)}</thead>"
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<div class="scroll {kind}" role="region" tabindex="0" aria-label="{label}"><table>'
        f"<caption>{escape(table.caption)}</caption>{heads}<tbody>{_rows(table)}</tbody></table></div>{note}"
    )


def html_figure(figure: Figure | None, title: str, wide: bool = False) -> str:
    """A chart with its title, legend and caption."""
    if figure is None:
        return ""
    swatch = '<svg viewBox="0 0 26 8" aria-hidden="true"><line x1="0" x2="26" y1="4" y2="4"/></svg>'
    legend = "".join(f'<li class="{style}">{swatch}{escape(label)}</li>' for style, label in figure.legend)
    kind = ' class="wide"' if wide else ""
    return (
        f"<figure{kind}><figcaption><strong>{escape(title)}</strong>"
        f'<ul class="legend">{legend}</ul></figcaption>{figure.picture}'
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
    )


def _sections(results: Results, curves: Mapping[str, Curves]) -> Iterable[tuple[str, str, str] | None]:
    yield ("goals", "Goals", html_table(tables.goals_table(results))) if results.goals else None
    yield "quality", "Quality", _quality(results)
    yield "latency", "Latency", _latency(results)
    yield "size", "Size and artifacts", _artifacts(results)
    yield (
        ("examples", "Examples", example_cards(results.examples, results.rehearsal))
        if results.examples
        else None
    )
    yield "training", "Training", _training(results, curves)
    yield "run", "Data, stages and device", _run(results)
    yield "reproduce", "How to reproduce", _reproduce(results)


def _quality(results: Results) -> str:
    pareto = pareto_figure(results)
    missing = "not judged on a rehearsal" if results.rehearsal else "not available"
    picture = html_figure(pareto, "Quality against latency", wide=True) or (
        f'<p class="none">Quality against latency: {missing}.</p>'
    )
    shares = tables.shares_table(results)
    kept = (
        html_table(shares, "figures narrow")
        if shares.rows
        else f'<p class="none">RSUM compared: {missing}.</p>'
    )
    return (
        picture + html_table(tables.quality_table(results)) + kept + html_table(tables.ranks_table(results))
    )


def _latency(results: Results) -> str:
    parts = [html_table(tables.latency_table(results))]
    if results.latency is not None:
        parts.append(html_table(tables.ratio_table(results), "figures narrow"))
        parts.append(html_table(run_tables.throughput_table(results), "figures narrow"))
        parts.append(html_table(run_tables.preprocess_table(results), "figures narrow"))
    return "".join(parts)


def _artifacts(results: Results) -> str:
    return html_table(run_tables.size_table(results), "figures narrow") + html_table(
        run_tables.artifacts_table(results)
    )


def _training(results: Results, curves: Mapping[str, Curves]) -> str:
    charts = "".join(html_figure(figure, title) for title, figure in training_figures(results, curves))
    drawn = f'<div class="charts">{charts}</div>' if charts else '<p class="none">Curves: not available.</p>'
    return html_table(run_tables.training_table(results)) + drawn


def _run(results: Results) -> str:
    beside = (
        html_table(run_tables.data_table(results))
        + "</div><div>"
        + html_table(run_tables.stages_table(results))
    )
    return (
        f'<div class="beside"><div>{beside}</div></div>{html_table(run_tables.device_table(results), "key")}'
    )


def _reproduce(results: Results) -> str:
    return (
        '<p class="lead">Save the recipe below under the name that the command uses, and run:</p>'
        f"<pre><code>{escape(command(results))}</code></pre>"
        f"<details><summary>The whole recipe</summary><pre><code>{escape(recipe_yaml(results))}</code></pre></details>"
        f"{html_table(run_tables.lineage_table(results), 'key')}"
    )


def _groups(table: Table) -> str:
    if not any(column.group for column in table.columns):
        return ""
    cells = []
    for group, members in groupby(table.columns, key=lambda column: column.group):
        width = len(list(members))
        scope = ' scope="colgroup"' if group else ""
        inner = f"<span>{escape(group)}</span>" if group else ""
        cells.append(
            f'<{"th" if group else "td"} colspan="{width}"{scope}>{inner}</{"th" if group else "td"}>'
        )
    return f'<tr class="groups">{"".join(cells)}</tr>'


def _heads(table: Table) -> str:
    cells = []
    for column in table.columns:
        kind = ' class="num"' if column.numeric else ""
        cells.append(f'<th scope="col"{kind}>{escape(column.name)}</th>')
    return f"<tr>{''.join(cells)}</tr>"


def _rows(table: Table) -> str:
    lines = []
    for number, row in enumerate(table.rows):
        before = table.rows[number - 1][0].text if number else None
        after = table.rows[number + 1][0].text if number + 1 < len(table.rows) else None
        cells = [_cell(cell, column.numeric) for cell, column in zip(row[1:], table.columns[1:], strict=True)]
        line = "".join([_row_head(row[0], row[0].text == before), *cells])
        same = ' class="same-next"' if after == row[0].text else ""
        lines.append(f"<tr{same}>{line}</tr>")
    return "".join(lines)


def _row_head(cell: Cell, repeated: bool) -> str:
    text = escape(cell.text)
    code = ' class="code"' if any(sign in cell.text for sign in (">=", "<=", "==", " > ", " < ")) else ""
    return f'<th scope="row"{code}>{f"<span class=unseen>{text}</span>" if repeated else text}</th>'


def _cell(cell: Cell, numeric: bool) -> str:
    text = escape(cell.text)
    if (
        cell.tone in ("good", "bad")
        and cell.text[:1] in "✓✕"
        or cell.tone == "muted"
        and cell.text[:1] == "–"
    ):
        text = f'<span class="chip {cell.tone}">{text}</span>'
    if cell.bar is not None:
        text = (
            f'<span class="meter" aria-hidden="true"><b style="--w:{100 * cell.bar:.1f}%"></b></span>{text}'
        )
    kinds = [*(["num"] if numeric else []), *([f"t-{cell.tone}"] if cell.tone in ("muted", "strong") else [])]
    return f'<td class="{" ".join(kinds)}">{text}</td>' if kinds else f"<td>{text}</td>"


def _style() -> str:
    return (files("compressor.report") / "report.css").read_text(encoding="utf-8")


__all__: Sequence[str] = ("html_figure", "html_report", "html_table")
