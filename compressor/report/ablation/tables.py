"""The tables and the sentences of an ablation as plain data, shown in HTML, Markdown and on a terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from compressor.report import numbers as n
from compressor.report.ablation.results import Ablation, ModelFigures, Spread, VariantFigures
from compressor.report.tables import Cell, Column, Table

ONE_SEED = "– one seed"


@dataclass(frozen=True)
class _Words:
    """How tables speak of what the students do."""

    title: str
    texts: str
    validation: str
    shown: Callable[[float | None], str] = n.points


_WORDS = {
    "retrieval": _Words("Retrieval", "captions", "best on val"),
    "captions": _Words("Captions", "captions to compare with", "lowest loss on val", n.three_figures),
    "answers": _Words("Answers", "questions", "lowest loss on val", n.three_figures),
}

_INTERVAL = (
    "The interval of a difference holds two kinds of chance: which images are asked (bootstrap over images, "
    "the same resamples for both) and the training itself (Student’s t on the differences paired by seed). "
    "One seed says nothing of the second, and then nothing is judged. Where a variant changes nothing, one "
    "such interval in twenty misses zero all the same."
)


def headline(ablation: Ablation) -> str:
    """What the table says, in one sentence."""
    base = _baseline(ablation)
    ranked = [variant for variant in ablation.ranked if variant.difference is not None]
    if base is None or base.value is None or not ranked:
        return f"{ablation.left} of {ablation.trainings} trainings are left; there is nothing to compare yet."
    label = ablation.compared.label
    better = [variant for variant in ranked if verdict(variant).tone == "good"]
    if better:
        best = better[0].difference
        assert best is not None
        lead, span = n.points(best.mean), n.span(best.interval, n.signed_points)
        return f"‘{better[0].name}’ beats the recipe as it is by {lead} points of {label} ({span})."
    top = ablation.ranked[0]
    if all(verdict(variant).text == ONE_SEED for variant in ranked):
        first = "The recipe as it is" if top.name == ablation.baseline else f"‘{top.name}’"
        return f"{first} stands first with {label} {with_spread(top.value)}, but one seed judges nothing."
    return "No variant is clearly better than the recipe as it is."


def remarks(ablation: Ablation) -> list[str]:
    """What a reader must know to read the table."""
    seeds = f"{len(ablation.seeds)} seeds" if len(ablation.seeds) > 1 else "One seed"
    lines = [
        f"{seeds}, the same data for all; {ablation.compared.label} of the last weights on "
        f"{ablation.split}, in PyTorch: nothing is selected there.",
    ]
    if ablation.images is not None:
        bad = f", {ablation.bad_images} unusable images left out" if ablation.bad_images else ""
        texts = f"{n.count(ablation.texts)} {_WORDS[ablation.measured].texts}"
        lines.append(f"{n.count(ablation.images)} images, {texts}{bad}.")
    lines += ablation.unavailable
    if ablation.left:
        time = "" if ablation.seconds_left is None else f", about {n.duration(ablation.seconds_left)}"
        lines.append(f"{ablation.left} of {ablation.trainings} trainings are left{time}.")
    return lines


def ranking_table(ablation: Ablation) -> Table:
    """The teacher, and every variant that has a figure, the best first."""
    label = ablation.compared.label
    columns = (
        _words("Variant"),
        *(Column(each.label, each.group) for each in ablation.beside),
        Column(label),
        Column("seeds"),
        Column("mean", f"{label} minus the recipe’s"),
        Column("95 % interval", f"{label} minus the recipe’s"),
        _words(""),
    )
    rows = [_row(ablation, variant) for variant in ablation.ranked]
    if ablation.teacher is not None and rows:
        rows.insert(0, _teacher_row(ablation, ablation.teacher))
    note = f"Mean ± standard deviation over seeds. {_INTERVAL}"
    return Table(f"{_WORDS[ablation.measured].title} of every variant", columns, tuple(rows), note)


def trainings_table(ablation: Ablation) -> Table:
    """Every finished training, seed by seed."""
    label, words = ablation.compared.label, _WORDS[ablation.measured]
    names = ("seed", label, "minus the recipe’s", words.validation, "steps", "time")
    columns = (_words("Variant"), *(Column(name) for name in names))
    rows = tuple(
        (
            Cell(variant.name, "head"),
            Cell(str(each.seed)),
            Cell(n.points(each.value), "strong"),
            Cell("" if each.difference is None else n.signed_points(each.difference)),
            Cell(words.shown(each.best_validation), "muted"),
            Cell(n.count(each.steps), "muted"),
            Cell(n.duration(each.seconds), "muted"),
        )
        for variant in ablation.ranked
        for each in variant.trainings
    )
    note = "Time of training and measuring. The best validation on the way is for orientation, not compared."
    return Table("Every training", columns, rows, note, "none is finished")


def absent_table(ablation: Ablation) -> Table | None:
    """Variants that are not trained, and trainings that failed; None where there are neither."""
    rows = [(Cell(each.name, "head"), Cell(each.refusal)) for each in ablation.variants if each.refusal]
    rows += [
        (Cell(f"{name}, seed {failure.seed}", "head"), Cell(failure.reason))
        for name, failure in ablation.failures
    ]
    return Table("Not in the table", (_words("Variant"), _words("Why")), tuple(rows)) if rows else None


def settings_table(ablation: Ablation) -> Table:
    """What each variant sets on top of the recipe."""
    rows = tuple(
        (Cell(variant.name, "head"), Cell("  ".join(variant.overrides) or "nothing"))
        for variant in ablation.variants
    )
    return Table("What each variant sets", (_words("Variant"), _words("Settings")), rows)


def with_spread(figure: Spread | None) -> str:
    """`76.3 ± 1.9`; of one seed the value alone."""
    if figure is None:
        return n.NOT_AVAILABLE
    return n.points(figure.mean) + ("" if figure.sd is None else f" ± {n.points(figure.sd)}")


def verdict(variant: VariantFigures) -> Cell:
    """Whether the interval is clear of zero; one seed is never judged."""
    found = variant.difference
    if found is None:
        return Cell("")
    if found.seeds < 2:
        return Cell(ONE_SEED, "muted")
    if found.interval is None:
        return Cell("– no interval", "muted")
    if found.interval.low > 0:
        return Cell("✓ better", "good")
    return Cell("✕ worse", "bad") if found.interval.high < 0 else Cell("– not clear", "muted")


def _row(ablation: Ablation, variant: VariantFigures) -> tuple[Cell, ...]:
    seeds = variant.value.seeds if variant.value is not None else 0
    found = variant.difference
    base = variant.name == ablation.baseline
    nothing = "" if base else n.NOT_AVAILABLE
    return (
        Cell("the recipe as it is" if base else variant.name, "head"),
        *(Cell(with_spread(variant.figures.get(each.key))) for each in ablation.beside),
        Cell(with_spread(variant.value), "strong"),
        Cell("one seed" if seeds == 1 else str(seeds), "muted"),
        Cell(nothing if found is None else _signed(found)),
        Cell(nothing if found is None else n.span(found.interval, n.signed_points)),
        verdict(variant),
    )


def _teacher_row(ablation: Ablation, teacher: ModelFigures) -> tuple[Cell, ...]:
    return (
        Cell("the teacher", "head"),
        *(Cell(n.points(teacher.figures.get(each.key))) for each in ablation.beside),
        Cell(n.points(teacher.value), "strong"),
        *(Cell("") for _ in range(4)),
    )


def _signed(found: Spread) -> str:
    return n.signed_points(found.mean) + ("" if found.sd is None else f" ± {n.points(found.sd)}")


def _baseline(ablation: Ablation) -> VariantFigures | None:
    return next((each for each in ablation.variants if each.name == ablation.baseline), None)


def _words(name: str) -> Column:
    return Column(name, numeric=False)
