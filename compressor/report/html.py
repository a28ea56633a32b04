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
from compressor.report.generation_tables import written_latency_table, written_quality
from compressor.report.headline import headline
from compressor.report.precisions import precisions_figure, precisions_table
from compressor.report.reproduce import command, recipe_yaml
from compressor.report.results import Results
from compressor.report.tables import Cell, Column, Table
from compressor.report.tiles import tiles
from compressor.report.written_cards import written_cards

REHEARSAL = (
    "This is a rehearsal: real architectures, random weights where the real ones were not there, a handful "
    "of pairs and a few steps. Sizes and latencies are true. Quality means nothing here and is not judged."
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
        f"<footer>Written by compressor {version} from results.json. Every figure was measured in "
        "this run; none was filled in.</footer></body></html>\n"
    )


def html_table(table: Table, kind: str = "figures", titled: bool = True) -> str:
    """A table in a region that scrolls on its own; repeated row headings are shown once and read every time.

    Without `titled` the caption is for screen readers only.
    """
    if not table.rows:
        return f'<p class="none">{escape(table.caption)}: {escape(table.missing)}.</p>'
    label = escape(table.caption, quote=True)
    heads = "" if kind == "key" else f"<thead>{_groups(table)}{_heads(table)}</thead>"
    shown = "" if titled else ' class="unseen"'
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<div class="scroll {kind}" role="region" tabindex="0" aria-label="{label}"><table>'
        f"<caption{shown}><span>{escape(table.caption)}</span></caption>{heads}<tbody>{_rows(table)}</tbody></table></div>{note}"
    )


def html_figure(figure: Figure | None, title: str) -> str:
    """A chart with its title, legend and caption."""
    if figure is None:
        return ""
    swatch = '<svg viewBox="0 0 26 8" aria-hidden="true"><line x1="0" x2="26" y1="4" y2="4"/></svg>'
    legend = "".join(f'<li class="{style}">{swatch}{escape(label)}</li>' for style, label in figure.legend)
    return (
        f"<figure><figcaption><strong>{escape(title)}</strong>"
        f'<ul class="legend">{legend}</ul></figcaption>{figure.picture}'
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
    )


def _sections(results: Results, curves: Mapping[str, Curves]) -> Iterable[tuple[str, str, str] | None]:
    yield (("goals", "Goals", _goals(results)) if results.goals else None)
    yield "quality", "Quality", _quality(results)
    yield "latency", "Latency", _latency(results)
    yield "size", "Size and artifacts", _artifacts(results)
    shown = written_cards if results.writes else example_cards
    yield (("examples", "Examples", shown(results.examples, results.rehearsal)) if results.examples else None)
    yield "training", "Training", _training(results, curves)
    yield "run", "Data, stages and device", _run(results)
    yield "reproduce", "How to reproduce", _reproduce(results)


def _goals(results: Results) -> str:
    table = tables.goals_table(results)
    return html_table(table, "figures narrow" if len(table.columns) == 3 else "figures", titled=False)


def _quality(results: Results) -> str:
    if results.writes:
        return "".join(html_table(table) for table in written_quality(results))
    if results.rehearsal:
        return f'<p class="none">{escape(tables.quality_table(results).missing.capitalize())}.</p>'
    picture = html_figure(pareto_figure(results), "Quality against latency") or (
        '<p class="none">Quality against latency: not available.</p>'
    )
    figures = html_table(tables.quality_table(results)) + html_table(tables.ranks_table(results))
    return _beside(picture, html_table(tables.shares_table(results))) + figures


def _latency(results: Results) -> str:
    if results.writes:
        return html_table(written_latency_table(results))
    calls = html_table(tables.latency_table(results))
    if results.latency is None:
        return calls
    first = html_table(tables.ratio_table(results)) + html_table(run_tables.preprocess_table(results))
    return calls + _beside(first, html_table(run_tables.throughput_table(results)))


def _artifacts(results: Results) -> str:
    compared = precisions_table(results)
    chart = html_figure(precisions_figure(results), "Precisions: quality against latency")
    precisions = f'<div class="alone">{chart}</div>' if chart else ""
    if compared.rows:
        precisions += html_table(compared)
    sizes = html_table(run_tables.size_table(results), "figures narrow")
    return sizes + precisions + html_table(run_tables.artifacts_table(results))


def _training(results: Results, curves: Mapping[str, Curves]) -> str:
    charts = "".join(html_figure(figure, title) for title, figure in training_figures(results, curves))
    drawn = f'<div class="charts">{charts}</div>' if charts else '<p class="none">Curves: not available.</p>'
    return html_table(run_tables.training_table(results), titled=False) + drawn


def _run(results: Results) -> str:
    data, stages = html_table(run_tables.data_table(results)), html_table(run_tables.stages_table(results))
    return _beside(data, stages) + html_table(run_tables.device_table(results), "key")


def _beside(first: str, second: str) -> str:
    return f'<div class="beside"><div>{first}</div><div>{second}</div></div>'


def _reproduce(results: Results) -> str:
    return (
        '<p class="lead">Save the recipe below under the name that the command uses, and run:</p>'
        f"<pre><code>{escape(command(results))}</code></pre>"
        "<details><summary>The whole recipe</summary>"
        f"<pre><code>{escape(recipe_yaml(results))}</code></pre></details>"
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
    for column, left in zip(table.columns, (table.columns[0], *table.columns), strict=False):
        cells.append(f'<th scope="col" class="{_kind(column, left)}">{escape(column.name)}</th>')
    return f"<tr>{''.join(cells)}</tr>"


def _rows(table: Table) -> str:
    lines = []
    for number, row in enumerate(table.rows):
        before = table.rows[number - 1][0].text if number else None
        after = table.rows[number + 1][0].text if number + 1 < len(table.rows) else None
        columns = zip(row[1:], table.columns[1:], table.columns[:-1], strict=True)
        cells = [_cell(cell, _kind(column, left)) for cell, column, left in columns]
        line = "".join([_row_head(row[0], row[0].text == before), *cells])
        same = ' class="same-next"' if after == row[0].text else ""
        lines.append(f"<tr{same}>{line}</tr>")
    return "".join(lines)


def _row_head(cell: Cell, repeated: bool) -> str:
    text = escape(cell.text)
    if repeated:
        return f'<th scope="row"><span class="unseen">{text}</span></th>'
    if any(sign in cell.text for sign in (">", "<", "==")):
        key, _, bound = text.partition(" ")
        breakable = key.replace(".", ".<wbr>").replace("_", "_<wbr>")
        return f'<th scope="row" class="code">{breakable} <span class="whole">{bound}</span></th>'
    return f'<th scope="row">{text}</th>'


def _kind(column: Column, left: Column) -> str:
    """Figures stand to the right; words that follow figures keep their distance."""
    return "num" if column.numeric else "apart" if left.numeric else "words"


def _cell(cell: Cell, kind: str) -> str:
    text = escape(cell.text)
    if cell.text[:1] in ("✓", "✕", "–"):
        text = f'<span class="chip {cell.tone}">{text}</span>'
    if cell.bar is not None:
        bar = f'<span class="meter" aria-hidden="true"><b style="--w:{100 * cell.bar:.1f}%"></b></span>'
        text = f'{bar}<span class="metered">{text}</span>'
    tone = f" t-{cell.tone}" if cell.tone in ("muted", "strong") else ""
    return f'<td class="{kind}{tone}">{text}</td>'


def _style() -> str:
    return (files("compressor.report") / "report.css").read_text(encoding="utf-8")


__all__: Sequence[str] = ("html_figure", "html_report", "html_table")
