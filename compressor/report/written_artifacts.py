"""The table of the exported artifacts of a student that writes."""

from __future__ import annotations

from compressor.report import numbers as n
from compressor.report.results import Results, WriterArtifactFigures
from compressor.report.tables import Cell, Column, Table

_TITLE = "Exported artifacts of the student"


def written_artifacts_table(results: Results) -> Table:
    """Every exported precision, graph by graph, behind its parity gate."""
    columns = (
        Column("Precision", numeric=False),
        Column("Graph", numeric=False),
        *map(Column, ("Size", "Cosine", "Worst cosine", "p50")),
        Column("greedy", "Equal texts"),
        Column("beams", "Equal texts"),
        Column("Loss change"),
        Column("Parity", numeric=False),
        Column("Speed", numeric=False),
    )
    rows: list[tuple[Cell, ...]] = []
    notes: list[str] = []
    compared = 0
    for name, artifact in results.artifacts.items():
        if isinstance(artifact, WriterArtifactFigures):
            rows += _rows(name, artifact, results.rehearsal)
            told = {f"{name} {graph}": each.reason for graph, each in artifact.graphs.items()}
            told[name] = artifact.reason
            notes += [f"{what}: {reason.rstrip('.')}." for what, reason in told.items() if reason]
            compared = max(compared, artifact.texts)
    for name, reason in results.not_made.items():
        blank = [_cell(n.NOT_AVAILABLE)] * (len(columns) - 4)
        rows.append((Cell(name, "head"), Cell("all"), *blank, Cell("not made", "muted"), Cell("")))
        notes.append(f"{name}: {reason.rstrip('.')}.")
    notes.append(
        "Cosines are against the PyTorch student after subtracting the batch mean; the loss is that of the "
        "true texts on validation, in nats a token."
    )
    if compared:
        notes.append(f"Texts of {n.count(compared)} pictures were compared token for token.")
    return Table(_TITLE, columns, tuple(rows), " ".join(notes))


def _rows(name: str, artifact: WriterArtifactFigures, rehearsal: bool) -> list[tuple[Cell, ...]]:
    """One row a graph; what belongs to all of them stands in the first."""
    rows: list[tuple[Cell, ...]] = []
    for graph, found in artifact.graphs.items():
        whole = [Cell("")] * 4
        if not rows:
            loss = f"{artifact.loss_delta:+.4f}" if artifact.loss_delta is not None else n.NOT_AVAILABLE
            shown = [n.percent(artifact.equal_greedy), n.percent(artifact.equal_beams), loss]
            whole = [
                _cell(n.milliseconds(artifact.p50_ms)),
                *(_cell(n.NOT_JUDGED if rehearsal else text) for text in shown),
            ]
        passed = found.status == "passed" and (bool(rows) or artifact.status == "passed")
        rows.append(
            (
                Cell(name, "head"),
                Cell(graph),
                Cell(n.size(found.bytes)),
                _cell(n.cosine(found.cosine)),
                _cell(n.cosine(found.worst_cosine)),
                *whole,
                Cell("✓ passed" if passed else "✕ failed", "good" if passed else "bad"),
                Cell("") if rows else _speed(name, artifact),
            )
        )
    return rows


def _speed(name: str, artifact: WriterArtifactFigures) -> Cell:
    if artifact.slower_than_fp32:
        return Cell("✕ slower than fp32", "bad")
    timed = "not slower than fp32" if artifact.p50_ms is not None else n.NOT_AVAILABLE
    return Cell("", "muted") if name == "fp32" else _cell(timed)


def _cell(text: str) -> Cell:
    return Cell(text, "muted" if text in (n.NOT_AVAILABLE, n.NOT_JUDGED) else "")
