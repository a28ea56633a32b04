"""Which curves of a training are drawn, and how they are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from compressor.report.curves import Curves, Points
from compressor.report.figures import Figure, Line, line_figure
from compressor.report.numbers import is_number, points, three_figures
from compressor.report.results import Results

_STYLES = ("s1", "s2", "s3", "s4", "s5", "s6")


def training_figures(results: Results, curves: Mapping[str, Curves]) -> list[tuple[str, Figure]]:
    """Titled charts: validation of all models, then losses and balancer weights of each."""
    title = "Validation loss" if results.writes else "Validation RSUM"
    found: list[tuple[str, Figure | None]] = [(title, _validation(results, curves))]
    for role, drawn in curves.items():
        each = f"Each point is the mean of {drawn.averaged} steps. " if drawn.averaged > 1 else ""
        caption = f"{each}Losses as weighted in the recipe, before the balancer."
        found.append(
            (
                f"Losses of the {role}",
                line_figure(f"loss-{role}", "Losses", _lines(drawn.losses), "loss", caption),
            )
        )
        if _moving(drawn.weights.values()):
            weights = line_figure(
                f"weight-{role}", "Balancer weights", _lines(drawn.weights), "weight", each.strip()
            )
            found.append((f"Balancer weights of the {role}", weights))
    return [(title, figure) for title, figure in found if figure is not None]


def _validation(results: Results, curves: Mapping[str, Curves]) -> Figure | None:
    if results.rehearsal:
        return None
    lines = [
        Line(role, drawn.validation, f"c-{role}", dots=True, lowest=results.writes)
        for role, drawn in curves.items()
        if role != "teacher"
    ]
    teacher = results.training.get("teacher")
    best, shown = ("best_loss", three_figures) if results.writes else ("best_rsum", points)
    level = teacher.get(best) if isinstance(teacher, dict) else None
    if "teacher" in curves and curves["teacher"].validation:
        level = (min if results.writes else max)(value for _, value in curves["teacher"].validation)
    reference = (f"teacher {shown(level)}", float(level)) if level is not None and is_number(level) else None
    caption = (
        "On the validation split, during training, in PyTorch. The large dot is the checkpoint that was kept."
    )
    title, unit = ("Validation loss", "loss") if results.writes else ("Validation RSUM", "RSUM")
    return line_figure("validation", title, lines, unit, caption, reference)


def _lines(series: Mapping[str, Points]) -> list[Line]:
    return [Line(name, drawn, _STYLES[k % len(_STYLES)]) for k, (name, drawn) in enumerate(series.items())]


def _moving(series: Iterable[Points]) -> bool:
    """A balancer that never changes a weight needs no chart."""
    return any(len({round(value, 9) for _, value in drawn}) > 1 for drawn in series)
