"""`ablation.html`: one file that needs nothing else, in the look of a run's report."""

from __future__ import annotations

from html import escape
from importlib.resources import files

from compressor.report.ablation import tables
from compressor.report.ablation.plot import dot_plot
from compressor.report.ablation.results import Ablation
from compressor.report.html import html_table

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def ablation_page(ablation: Ablation) -> str:
    """The page. Every word that comes from a recipe or a file passes through `escape`."""
    remarks = "".join(f"<li>{escape(remark)}</li>" for remark in tables.remarks(ablation))
    body = "".join(
        f'<section id="{key}" aria-labelledby="{key}-h"><h2 id="{key}-h">{title}</h2>{content}</section>'
        for key, title, content in _sections(ablation)
        if content
    )
    version = escape(ablation.versions.get("compressor", ""))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(ablation.name)}: ablation</title><style>{_style()}</style></head><body>"
        f'<header><p class="eyebrow">Ablation of <b>{escape(ablation.name)}</b></p>'
        f'<h1>{escape(tables.headline(ablation))}</h1><ul class="remarks">{remarks}</ul></header>'
        f"<main>{body}</main><footer>Written by compressor {version} from ablation.json. Every "
        "figure was measured in these trainings; none was filled in.</footer></body></html>\n"
    )


def _sections(ablation: Ablation) -> list[tuple[str, str, str]]:
    absent = tables.absent_table(ablation)
    settings = html_table(tables.settings_table(ablation), "figures words", titled=False)
    return [
        (
            "variants",
            "Variants",
            dot_plot(ablation) + html_table(tables.ranking_table(ablation), titled=False),
        ),
        ("absent", "Not in the table", html_table(absent, "figures words", titled=False) if absent else ""),
        ("trainings", "Every training", html_table(tables.trainings_table(ablation), titled=False)),
        (
            "reproduce",
            "How to reproduce",
            f"<pre><code>{escape(ablation.command)}</code></pre>{settings}",
        ),
    ]


def _style() -> str:
    room = files("compressor.report")
    return "".join(
        (room / name).read_text(encoding="utf-8") for name in ("report.css", "ablation/ablation.css")
    )
