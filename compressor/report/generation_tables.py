"""The tables of captions and answers: quality, what is kept of the teacher's, latency of one text."""

from __future__ import annotations

from compressor.report import numbers as n
from compressor.report.results import (
    CaptionQuality,
    GenerationLatency,
    GenerationRetention,
    Interval,
    Results,
    RoleName,
    VQAQuality,
)
from compressor.report.tables import ROLES, Cell, Column, Table

FIGURES = {
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    "meteor": "METEOR",
    "rouge_l": "ROUGE-L",
    "cider": "CIDEr",
    "spice": "SPICE",
    "vqa_accuracy": "VQA accuracy",
}
"""The figures as the field writes them, in its order."""
_REHEARSED = "not judged on a rehearsal"


def written_quality(results: Results) -> list[Table]:
    """All that there is to say of quality."""
    tables = [written_table(results), written_shares_table(results)]
    asked = results.recipe.get("teacher", {}).get("head") == "vqa"
    return [tables[0]] if results.rehearsal else [*tables, by_type_table(results)] if asked else tables


def written_table(results: Results) -> Table:
    """Captions or answers of teacher, student and control."""
    if results.rehearsal:
        return Table(_title(results), (_words("Model"),), (), missing=_REHEARSED)
    found = {role: results.quality.get(role) for role in ROLES}
    captions = {role: each for role, each in found.items() if isinstance(each, CaptionQuality)}
    if captions:
        return _captions(results, captions)
    answers = {role: each for role, each in found.items() if isinstance(each, VQAQuality)}
    return _answers(results, answers)


def by_type_table(results: Results) -> Table:
    """VQA accuracy by type of answer and of question."""
    answers = {role: each for role in ROLES if isinstance(each := results.quality.get(role), VQAQuality)}
    rows = []
    for group, key in (("answer", "by_answer_type"), ("question", "by_question_type")):
        names = dict.fromkeys(name for each in answers.values() for name in getattr(each, key))
        for name in names:
            figures = [n.points(getattr(each, key).get(name)) for each in answers.values()]
            rows.append((Cell(group, "head"), Cell(name or "none"), *map(_cell, figures)))
    columns = (_words("Type of"), _words("Type"), *(Column(role.capitalize()) for role in answers))
    shown = () if results.rehearsal else tuple(rows)
    return Table("VQA accuracy by type", columns, shown, missing=_missing(results))


def written_shares_table(results: Results) -> Table:
    """Student divided by teacher, and its lead over the control, figure by figure."""
    kept = results.retention
    rows: list[tuple[Cell, ...]] = []
    if isinstance(kept, GenerationRetention) and not results.rehearsal:
        for name, label in FIGURES.items():
            share, lead = getattr(kept, name), kept.lead_over_control.get(name)
            if share is None and lead is None:
                continue
            rows.append(
                (
                    Cell(label, "head"),
                    Cell(n.percent(share), "strong"),
                    _cell(n.percent_span(kept.intervals.get(name))),
                    _cell(n.percent(kept.control.get(name))),
                    _cell(n.signed_points(lead)),
                    _cell(n.span(kept.lead_over_control_intervals.get(name), n.signed_points)),
                )
            )
    columns = (
        _words("Figure"),
        Column("Student ÷ teacher"),
        Column("95 % interval"),
        Column("Control ÷ teacher"),
        Column("Student − control"),
        Column("95 % interval"),
    )
    note = "The control is the same student trained on the ground truth alone. Models are resampled together."
    return Table("Compared on the same rows", columns, tuple(rows), note, _missing(results))


def written_latency_table(results: Results) -> Table:
    """Percentiles of writing one text."""
    names = ("p50", "95 % interval", "p90", "p95", "p99", "texts")
    columns = (_words("Model"), *(Column(name) for name in names))
    latency = results.latency
    if not isinstance(latency, GenerationLatency):
        return Table("Latency of one text", columns, ())
    rows = []
    for role in ("teacher", "student"):
        timing = getattr(latency.generation, role)
        if timing is None:
            continue
        rows.append(
            (
                Cell(role, "head"),
                Cell(n.three_figures(timing.p50_ms), "strong"),
                _cell(n.span(timing.p50_interval, n.three_figures)),
                *(Cell(n.three_figures(value)) for value in (timing.p90_ms, timing.p95_ms, timing.p99_ms)),
                Cell(n.count(timing.n), "muted"),
            )
        )
    ratio = ""
    if latency.p50_ratio is not None:
        spread = f" ({n.percent_span(latency.p50_ratio_interval)})" if latency.p50_ratio_interval else ""
        ratio = f" Student ÷ teacher: {n.percent(latency.p50_ratio)}{spread}."
    note = (
        f"{latency.backend} on {latency.provider}, {latency.precision}, {n.threads(latency.threads)}, "
        f"{latency.beams} beams, at most {latency.max_length} tokens, milliseconds, preprocessing outside. "
        f"Interleaved in one process.{ratio}"
    )
    return Table("Latency of one text", columns, tuple(rows), note)


def main_figure(results: Results) -> tuple[str, str] | None:
    """Name and label of the figure that the head of a report shows: CIDEr, else BLEU-4, or VQA accuracy."""
    student = results.quality.get("student")
    for name in ("vqa_accuracy", "cider", "bleu_4", "rouge_l", "meteor", "bleu_1", "spice"):
        if getattr(student, name, None) is not None:
            return name, FIGURES[name]
    return None


def figure_of(results: Results, role: RoleName, name: str) -> float | None:
    """One figure of one model."""
    value: float | None = getattr(results.quality.get(role), name, None)
    return value


def interval_of(quality: CaptionQuality | VQAQuality, name: str) -> Interval | None:
    """The interval of one figure."""
    if isinstance(quality, VQAQuality):
        return quality.vqa_accuracy_interval
    return quality.intervals.get(name)


def _captions(results: Results, found: dict[RoleName, CaptionQuality]) -> Table:
    first = next(iter(found.values()))
    names = [
        name
        for name in FIGURES
        if name in first.unavailable or any(getattr(each, name, None) is not None for each in found.values())
    ]
    rows = []
    for role, each in found.items():
        rows.append((Cell(role, "head"), *(_cell(n.points(getattr(each, name))) for name in names)))
    spans = {
        name: [interval_of(each, name) for each in found.values()] for name in names if name != "vqa_accuracy"
    }
    student = found.get("student")
    if student is not None and any(interval for each in spans.values() for interval in each):
        cells = [n.span(student.intervals.get(name)) for name in names]
        rows.append((Cell("student, 95 %", "head"), *map(_cell, cells)))
    why = " ".join(dict.fromkeys(first.unavailable.values()))
    note = (
        f"{n.count(first.images)} pictures, {n.count(first.captions)} reference captions; COCO's protocol, "
        f"times 100; intervals by bootstrap over pictures.{' ' + why if why else ''}"
    )
    return Table(_title(results), (_words("Model"), *(Column(FIGURES[x]) for x in names)), tuple(rows), note)


def _answers(results: Results, found: dict[RoleName, VQAQuality]) -> Table:
    rows = [
        (
            Cell(role, "head"),
            Cell(n.points(each.vqa_accuracy), "strong"),
            _cell(n.span(each.vqa_accuracy_interval)),
        )
        for role, each in found.items()
    ]
    first = next(iter(found.values()), None)
    held = f"{n.count(first.questions)} questions about {n.count(first.images)} pictures. " if first else ""
    note = f"{held}Percent, by the official formula; intervals by bootstrap over pictures."
    columns = (_words("Model"), Column("VQA accuracy"), Column("95 % interval"))
    return Table(_title(results), columns, tuple(rows), note)


def _title(results: Results) -> str:
    asked = results.recipe.get("teacher", {}).get("head") == "vqa"
    return "Answers to the same questions" if asked else "Captions of the same pictures"


def _missing(results: Results) -> str:
    return _REHEARSED if results.rehearsal else n.NOT_AVAILABLE


def _cell(text: str) -> Cell:
    return Cell(text, "muted" if text in (n.NOT_AVAILABLE, n.NOT_JUDGED) else "")


def _words(name: str) -> Column:
    return Column(name, numeric=False)
