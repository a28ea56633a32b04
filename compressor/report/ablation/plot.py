"""The dot plot: every variant's distance from the recipe, with its interval and its single trainings.

Rows are lines of text with a strip of SVG beside them whose places are percentages: names keep their size on
any screen, and a strip is as long as there is room.
"""

from __future__ import annotations

from html import escape

from compressor.report import numbers as n
from compressor.report.ablation.results import Ablation, VariantFigures
from compressor.report.ablation.tables import verdict, with_spread
from compressor.report.axes import Scale, padded, tick_text

_STYLE = {"good": "s-better", "bad": "s-worse"}


def dot_plot(ablation: Ablation) -> str:
    """The figure; nothing where there is no difference to show."""
    drawn = [
        each for each in ablation.ranked if each.difference is not None or each.name == ablation.baseline
    ]
    values = [value for variant in drawn for value in _values(variant)]
    if not values:
        return ""
    # Tick labels at the ends need room, and so do the dots.
    x = Scale(*padded([0.0, *values], share=0.07), 0.0, 100.0)
    told = "; ".join(f"{each.name}: {_told(each, ablation.compared.label)}" for each in drawn)
    strips = "".join(_strip(ablation, variant, x) for variant in drawn)
    label = escape(ablation.compared.label)
    return (
        f'<figure class="dots"><figcaption><strong>{label} minus the recipe’s, with 95 % intervals</strong>'
        "</figcaption>"
        f'<div role="img" aria-label="{escape(told, quote=True)}">{strips}{_ticks(x)}</div>'
        "<figcaption>The large dot is the mean over seeds, the rings are single seeds. To the right is "
        f"better. Beside each its {label}.</figcaption></figure>"
    )


def _values(variant: VariantFigures) -> list[float]:
    found = variant.difference
    if found is None:
        return []
    edges = [] if found.interval is None else [found.interval.low, found.interval.high]
    return [
        found.mean,
        *edges,
        *(each.difference for each in variant.trainings if each.difference is not None),
    ]


def _strip(ablation: Ablation, variant: VariantFigures, x: Scale) -> str:
    base = variant.name == ablation.baseline
    style = "s-base" if base else _STYLE.get(verdict(variant).tone, "s-open")
    name = "the recipe as it is" if base else variant.name
    return (
        f'<div class="strip {style}"><span class="who">{escape(name)}</span>'
        f'<span class="line"><svg aria-hidden="true">{_marks(variant, x)}</svg></span>'
        f'<span class="value">{escape(with_spread(variant.value))}</span></div>'
    )


def _marks(variant: VariantFigures, x: Scale) -> str:
    parts = [f'<line class="zero" x1="{x(0.0):.2f}%" x2="{x(0.0):.2f}%" y1="0" y2="100%"/>']
    found = variant.difference
    if found is not None and found.interval is not None:
        low, high = x(found.interval.low), x(found.interval.high)
        parts.append(f'<line class="whisker" x1="{low:.2f}%" x2="{high:.2f}%" y1="50%" y2="50%"/>')
    if found is not None and found.seeds > 1:
        parts += [
            _dot("seed", x(each.difference), 3.5) for each in variant.trainings if each.difference is not None
        ]
    parts.append(_dot("mean", x(0.0 if found is None else found.mean), 5.5))
    return "".join(parts)


def _ticks(x: Scale) -> str:
    marks = "".join(
        f'<text x="{x(tick):.2f}%" y="15" text-anchor="middle">{_sign(tick)}{tick_text(tick)}</text>'
        for tick in x.ticks()
        if 3 < x(tick) < 97
    )
    line = f'<span class="line"><svg aria-hidden="true">{marks}</svg></span>'
    return f'<div class="strip ticks"><span></span>{line}</div>'


def _sign(tick: float) -> str:
    return "+" if tick > 0 else ""


def _dot(style: str, x: float, radius: float) -> str:
    return f'<circle class="{style}" cx="{x:.2f}%" cy="50%" r="{radius:g}"/>'


def _told(variant: VariantFigures, label: str) -> str:
    if variant.difference is None:
        return f"{label} {with_spread(variant.value)}"
    span = n.span(variant.difference.interval, n.signed_points)
    return f"{n.signed_points(variant.difference.mean)}, {span}"
