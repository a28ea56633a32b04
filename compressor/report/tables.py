"""The tables of a report as plain data, told once and shown twice: in HTML and in Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from compressor.report import numbers as n
from compressor.report.results import Direction, ModelQuality, Results, Timing

Tone = Literal["", "good", "bad", "muted", "head", "strong"]
_REHEARSED = "not judged on a rehearsal"
ROLES: tuple[Literal["teacher", "student", "control"], ...] = ("teacher", "student", "control")


@dataclass(frozen=True)
class Cell:
    """Text as it stands (not escaped), what it means, and a bar behind it (0 to 1)."""

    text: str
    tone: Tone = ""
    bar: float | None = None


@dataclass(frozen=True)
class Column:
    """A heading, the group of columns it belongs to, and whether figures stand below it."""

    name: str
    group: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns, with a caption. Without rows it says `missing`."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    missing: str = n.NOT_AVAILABLE
    """What to say where there are no rows."""


def goals_table(results: Results) -> Table:
    """Every goal with the measured figure and its verdict."""
    marks: dict[str, Cell] = {
        "met": Cell("✓ met", "good"),
        "missed": Cell("✕ missed", "bad"),
        "not judged": Cell("– not judged", "muted"),
    }
    rows: list[tuple[Cell, ...]] = [
        (
            Cell(goal.goal, "head"),
            _cell(n.figure(goal.value)),
            marks[goal.verdict],
            Cell(goal.reason, "muted"),
        )
        for goal in results.goals
    ]
    if not any(goal.reason for goal in results.goals):
        rows = [row[:3] for row in rows]
    columns = (_words("Goal"), Column("Measured"), _words("Verdict"), _words("Why"))
    return Table("Goals of the recipe", columns[: len(rows[0])] if rows else columns, tuple(rows))


def quality_table(results: Results) -> Table:
    """Recalls and RSUM of teacher, student and control."""
    columns = [_words("Model")]
    for group in ("Image → text", "Text → image"):
        columns += [Column(f"R@{k}", group) for k in (1, 5, 10)]
    columns += [Column("RSUM"), Column("95 % interval")]
    if results.rehearsal:
        return Table("Retrieval on the same images and captions", tuple(columns), (), missing=_REHEARSED)
    rows = [_quality_row(results, role) for role in ROLES if role in results.retrieval or role != "control"]
    first = next((quality for quality in results.retrieval.values() if quality is not None), None)
    held = f"{n.count(first.images)} images, {n.count(first.captions)} captions. " if first else ""
    note = (
        f"{held}Recalls in percent; any of an image’s captions counts; ties count against the model; "
        "intervals by bootstrap over images."
    )
    return Table("Retrieval on the same images and captions", tuple(columns), tuple(rows), note)


def ranks_table(results: Results) -> Table:
    """Ranks and mAP@R, and what each model was measured through."""
    columns = [_words("Model")]
    for group in ("Image → text", "Text → image"):
        columns += [Column("median rank", group), Column("mean rank", group), Column("mAP@R", group)]
    columns += [_words("Measured through")]
    rows = []
    for role in ROLES:
        quality = results.retrieval.get(role)
        if quality is not None and not results.rehearsal:
            figures = [cell for side in (quality.i2t, quality.t2i) for cell in _rank_cells(side)]

            through = f"{quality.source}, {quality.precision}"
            rows.append((Cell(role, "head"), *figures, Cell(through, "muted")))
    return Table("Ranks of the right answer", tuple(columns), tuple(rows), missing=_missing(results))


def shares_table(results: Results) -> Table:
    """Retention and the lead over the control."""
    kept = results.rsum_kept
    rows: list[tuple[Cell, ...]] = []
    if kept is not None and not results.rehearsal:
        rows = [
            _share("Student ÷ teacher", n.percent(kept.rsum), n.percent_span(kept.rsum_interval)),
            _share("Control ÷ teacher", n.percent(kept.control_rsum), ""),
            _share(
                "Student − control, points",
                n.signed_points(kept.student_minus_control),
                n.span(kept.student_minus_control_interval, n.signed_points),
            ),
            _share("Exported student ÷ PyTorch student", n.percent(kept.artifact_rsum), ""),
        ]
    note = "Student and teacher, student and control are resampled together (paired)."
    columns = (_words("Comparison"), Column("RSUM"), Column("95 % interval"))
    return Table("RSUM compared", columns, tuple(rows), note, _missing(results))


def latency_table(results: Results) -> Table:
    """Percentiles of single calls for each tower and for a pair."""
    columns = (
        _words("Input"),
        _words("Model"),
        *(Column(name) for name in ("p50", "95 % interval", "p90", "p95", "p99", "calls")),
    )
    latency = results.towers
    if latency is None:
        return Table("Latency of one call", columns, ())
    rows = []
    for name, timings in (
        ("one image", latency.image),
        ("one text", latency.text),
        ("the pair", latency.pair),
    ):
        for role in ("teacher", "student"):
            rows.append(_timing_row(name, role, getattr(timings, role)))
    against = n.at(latency.precision, " (the teacher in onnxruntime at fp32)") if latency.pair.teacher else ""
    note = (
        f"{latency.backend}, {latency.provider}, {latency.precision}{against}, {n.threads(latency.threads)}, "
        "batch 1, milliseconds. Interleaved in one process, tensors ready; "
        "intervals by bootstrap over rounds."
    )
    return Table("Latency of one call", columns, tuple(rows), note)


def ratio_table(results: Results) -> Table:
    """Student divided by teacher."""
    latency = results.towers
    rows: list[tuple[Cell, ...]] = []
    if latency is not None:
        for name, timings in (("one image", latency.image), ("one text", latency.text)):
            ratio = (
                timings.student.p50_ms / timings.teacher.p50_ms
                if timings.student and timings.teacher
                else None
            )
            rows.append(_share(name, n.percent(ratio), ""))
        pair = _share("the pair", n.percent(latency.p50_ratio), n.percent_span(latency.p50_ratio_interval))
        rows.append(pair)
    columns = (_words("Input"), Column("Student ÷ teacher, p50"), Column("95 % interval"))
    note = "The pair’s ratio is the median over rounds of each round’s own ratio."
    return Table("Latency compared", columns, tuple(rows), note)


def _quality_row(results: Results, role: str) -> tuple[Cell, ...]:
    quality: ModelQuality | None = results.retrieval.get(role)  # type: ignore[call-overload]
    if quality is None:
        return (Cell(role, "head"), *(Cell(n.NOT_AVAILABLE, "muted") for _ in range(8)))
    recalls = [getattr(quality, f"{way}_r{k}") for way in ("i2t", "t2i") for k in (1, 5, 10)]
    return (
        Cell(role, "head"),
        *(Cell(n.points(value)) for value in recalls),
        Cell(n.points(quality.rsum), "strong"),
        _cell(n.span(quality.rsum_interval)),
    )


def _missing(results: Results) -> str:
    return _REHEARSED if results.rehearsal else n.NOT_AVAILABLE


def _rank_cells(side: Direction) -> list[Cell]:
    return [
        Cell(n.rank(side.median_rank)),
        Cell(n.rank(side.mean_rank)),
        Cell(n.points(side.map_r)),
    ]


def _timing_row(name: str, role: str, timing: Timing | None) -> tuple[Cell, ...]:
    if timing is None:
        return (Cell(name, "head"), Cell(role), *(Cell(n.NOT_AVAILABLE, "muted") for _ in range(6)))
    return (
        Cell(name, "head"),
        Cell(role),
        Cell(n.three_figures(timing.p50_ms), "strong"),
        _cell(n.span(timing.p50_interval, n.three_figures)),
        *(Cell(n.three_figures(value)) for value in (timing.p90_ms, timing.p95_ms, timing.p99_ms)),
        Cell(n.count(timing.n), "muted"),
    )


def _share(name: str, value: str, interval: str) -> tuple[Cell, ...]:
    return (Cell(name, "head"), _cell(value), _cell(interval))


def _cell(text: str) -> Cell:
    return Cell(text, "muted" if text in (n.NOT_AVAILABLE, n.NOT_JUDGED) else "")


def _words(name: str) -> Column:
    return Column(name, numeric=False)


def key_values(caption: str, entries: dict[str, Any]) -> Table:
    """Two columns, one line an entry."""
    rows = tuple((Cell(name, "head"), _cell(str(value))) for name, value in entries.items())
    return Table(caption, (_words("What"), _words("Value")), rows)
