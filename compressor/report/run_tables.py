"""Tables about the run itself: sizes, artifacts, throughput, training, data, stages, device, lineage."""

from __future__ import annotations

import re
from typing import Any

from compressor.report import numbers as n
from compressor.report.results import ArtifactFigures, Results
from compressor.report.runtimes import other_runtimes
from compressor.report.tables import Cell, Column, Table, key_values
from compressor.report.written_artifacts import written_artifacts_table

_HELD = ("teacher", "student")
_SPLITS = {"train": "training", "val": "validation", "test": "test"}


def size_table(results: Results) -> Table:
    """Parameters, and bytes of what was evaluated."""
    rows = []
    precisions = {role: found.precision for role in _HELD if (found := getattr(results.size, role))}
    all_exact = set(precisions.values()) <= {"fp32"}
    told = "; ".join(f"the {role} at {precision}" for role, precision in precisions.items())
    for role in _HELD:
        found = getattr(results.size, role)
        figures = [found.image_parameters, found.text_parameters, found.parameters] if found else [None] * 3
        bytes_ = n.size(found.bytes if found else None)
        rows.append((Cell(role, "head"), *(_cell(n.parameters(value)) for value in figures), _cell(bytes_)))
    if results.size.parameter_ratio is not None and results.size.teacher and results.size.student:
        teacher, student = results.size.teacher, results.size.student
        towers = [
            student.image_parameters / teacher.image_parameters if teacher.image_parameters else None,
            student.text_parameters / teacher.text_parameters if teacher.text_parameters else None,
        ]
        shares = [*towers, results.size.parameter_ratio, results.size.bytes_ratio]
        rows.append((Cell("student ÷ teacher", "head"), *(_cell(n.percent(share)) for share in shares)))
    columns = (
        _words("Model"),
        *(Column(name, "Parameters") for name in ("image", "text", "both")),
        Column("On disk, fp32" if all_exact else "On disk"),
    )
    return Table("Size", columns, tuple(rows), "" if all_exact else f"On disk: {told}.")


def artifacts_table(results: Results) -> Table:
    """Every exported precision of the student, behind its parity gate."""
    names = ("Size", "p50", "Cosine", "Worst cosine")
    skipped = results.stages.get("export", {}).get("skipped")
    if skipped:
        caption = "Exported artifacts of the student"
        return Table(caption, (_words("Precision"),), (), missing=f"none; {skipped}")
    if results.writes:
        return written_artifacts_table(results)
    columns = (
        _words("Precision"),
        _words("Tower"),
        *map(Column, names),
        Column("Recall change"),
        _words("Parity"),
        _words("Speed"),
    )
    rows, notes = [], []
    for name, artifact in results.artifacts.items():
        if isinstance(artifact, ArtifactFigures):
            rows += _artifact_rows(name, artifact, results.rehearsal)
            notes += _reasons(name, artifact)
    for name, reason in results.not_made.items():
        blank = [_cell(n.NOT_AVAILABLE)] * (len(columns) - 3)
        rows.append((Cell(name, "head"), Cell("both"), *blank[:-1], Cell("not made", "muted"), blank[-1]))
        notes.append(f"{name}: {reason.rstrip('.')}.")
    notes += other_runtimes(results)
    notes.append(
        "Cosines are against the PyTorch student after subtracting the batch mean; the recall change is the "
        "mean of the six recalls on validation, in points."
    )
    return Table("Exported artifacts of the student", columns, tuple(rows), " ".join(notes))


def throughput_table(results: Results) -> Table:
    """Items per second over batch sizes."""
    cells: dict[tuple[str, int], dict[str, Any]] = {}
    for row in results.towers.batches if results.towers else []:
        cells.setdefault((row["tower"], row["batch"]), {})[row["role"]] = row["per_second"]
    rows = []
    for (tower, batch), speeds in cells.items():
        teacher, student = speeds.get("teacher"), speeds.get("student")
        faster = f"{n.three_figures(student / teacher)} ×" if teacher and student else n.NOT_AVAILABLE
        figures = (n.three_figures(teacher), n.three_figures(student), faster)
        rows.append((Cell(tower, "head"), Cell(str(batch)), *map(_cell, figures)))
    columns = (
        _words("Tower"),
        Column("Batch"),
        Column("teacher", "Items per second"),
        Column("student", "Items per second"),
        Column("faster"),
    )
    return Table("Throughput by batch size", columns, tuple(rows))


def preprocess_table(results: Results) -> Table:
    """What decoding and preprocessing cost, outside the figures above."""
    found = results.towers.preprocess if results.towers else {}
    roles = [role for role in ("teacher", "student") if role in found]
    rows: list[tuple[Cell, ...]] = []
    decode = found.get("decode")
    if decode:
        rows.append((Cell("decode an image", "head"), *(_ms(decode.get("p50_ms")) for _ in roles)))
    for name, key in (("preprocess an image", "image_p50_ms"), ("tokenise a text", "text_p50_ms")):
        if roles:
            rows.append((Cell(name, "head"), *(_ms(found[role].get(key)) for role in roles)))
    note = (
        f"p50 of one item. Decoded: {decode['source']}."
        if decode and decode.get("source")
        else "p50 of one item."
    )
    columns = (_words("Step"), *(Column(role.capitalize()) for role in roles))
    return Table("Before the model: decoding and preprocessing", columns, tuple(rows) if roles else (), note)


def training_table(results: Results) -> Table:
    """How each model of the run was trained."""
    columns = (
        _words("Model"),
        *map(Column, ("Steps", "Time", "Images per second", "Best step", _chosen_by(results))),
    )
    rows = []
    for role, facts in results.training.items():
        if isinstance(facts, dict):
            rows.append(
                (
                    Cell(role, "head"),
                    _cell(n.count(facts.get("steps"))),
                    _cell(n.duration(facts.get("seconds"))),
                    _cell(n.three_figures(facts.get("images_per_second"))),
                    _cell(n.count(facts.get("best_step"))),
                    _cell(n.NOT_JUDGED if results.rehearsal else _best(facts)),
                )
            )
    return Table("Training", columns, tuple(rows))


def _chosen_by(results: Results) -> str:
    return "Best validation loss" if results.writes else "Best validation RSUM"


def _best(facts: dict[str, Any]) -> str:
    return n.three_figures(facts["best_loss"]) if "best_loss" in facts else n.points(facts.get("best_rsum"))


def data_table(results: Results) -> Table:
    """Rows, captions and unusable samples of each split."""
    rows = []
    for split, facts in results.data.items():
        if isinstance(facts, dict):
            bad = facts.get("bad_images", facts.get("bad"))
            rows.append(
                (
                    Cell(_SPLITS.get(split, split), "head"),
                    _cell(n.count(facts.get("images"))),
                    _cell(n.count(facts.get("captions"))),
                    Cell(n.count(bad), "bad" if bad else "muted"),
                )
            )
    columns = (_words("Split"), Column("Images"), Column("Captions"), Column("Unusable images"))
    return Table("Data", columns, tuple(rows), "Unusable images are named in the run’s log and left out.")


def stages_table(results: Results) -> Table:
    """Where the time went."""
    seconds = {
        name: facts["seconds"]
        for name, facts in results.stages.items()
        if isinstance(facts, dict) and n.is_number(facts.get("seconds"))
    }
    longest = max(seconds.values(), default=0.0)
    rows = [
        (
            Cell(name + (" (skipped)" if results.stages[name].get("skipped") else ""), "head"),
            Cell(n.duration(taken), bar=taken / longest if longest else 0.0),
        )
        for name, taken in seconds.items()
    ]
    if rows:
        rows.append((Cell("together", "head"), Cell(n.duration(sum(seconds.values())), "strong")))
    return Table("Stages", (_words("Stage"), Column("Time")), tuple(rows))


def device_table(results: Results) -> Table:
    """What the figures were measured on."""
    device = results.device
    if not device:
        return key_values("Device", {})
    cpu = device.get("cpu") or {}
    cores = f"{cpu.get('available_cores') or cpu.get('logical_cores')} usable of {cpu.get('logical_cores')}"
    if cpu.get("quota_cores"):
        cores += f", limited to {cpu['quota_cores']}"
    gpus = [f"{gpu.get('name')} (driver {gpu.get('driver')})" for gpu in device.get("gpus") or []]
    memory = device.get("memory_gib")
    entries = {
        "Processor": cpu.get("model"),
        "Cores": cores if cpu else None,
        "Instruction sets": ", ".join(cpu.get("flags") or []),
        "Governor": cpu.get("governor"),
        "GPU": ", ".join(gpus) or "none",
        "Memory": f"{memory} GiB" if memory else None,
        "System": device.get("os"),
        "Python": device.get("python"),
        "Libraries": _listed(device.get("libraries")),
        "Device key": device.get("key"),
    }
    return key_values("Device", {name: value or n.NOT_AVAILABLE for name, value in entries.items()})


def lineage_table(results: Results) -> Table:
    """Versions, seeds and fingerprints."""
    entries = {}
    for name, value in results.lineage.items():
        shown = _listed(value) if isinstance(value, dict) else value
        entries[name.replace("_", " ")] = n.NOT_AVAILABLE if shown in (None, "") else shown
    return key_values("Lineage", entries)


def _artifact_rows(name: str, artifact: ArtifactFigures, rehearsal: bool) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    for tower, found in (("image", artifact.image), ("text", artifact.text)):
        first = tower == "image"
        recall = n.NOT_JUDGED if rehearsal else n.signed_points(artifact.recall_delta, 2)
        passed = found.status == "passed"
        rows.append(
            (
                Cell(name, "head"),
                Cell(tower),
                Cell(n.size(found.bytes)),
                _ms(found.p50_ms),
                _cell(n.cosine(found.cosine)),
                _cell(n.cosine(found.worst_cosine)),
                _cell(recall) if first else Cell(""),
                Cell("✓ passed" if passed else "✕ failed", "good" if passed else "bad"),
                _speed(name, artifact) if first else Cell(""),
            )
        )
    return rows


def _speed(name: str, artifact: ArtifactFigures) -> Cell:
    if artifact.slower_than_fp32:
        return Cell("✕ slower than fp32", "bad")
    timed = artifact.image.p50_ms is not None and artifact.text.p50_ms is not None
    return (
        Cell("", "muted") if name == "fp32" else _cell("not slower than fp32" if timed else n.NOT_AVAILABLE)
    )


def _reasons(name: str, artifact: ArtifactFigures) -> list[str]:
    told = []
    towers = [(f"{name} {tower}", getattr(artifact, tower).reason) for tower in ("image", "text")]
    for what, reason in [*towers, (name, artifact.reason)]:
        if reason:
            told.append(f"{what}: {reason.rstrip('.')}.")
    return told


def _listed(value: Any) -> str:
    if not isinstance(value, dict):
        return ""
    plain = {name: part for name, part in value.items() if not isinstance(part, dict | list)}
    return ", ".join(f"{name} {_shortened(part)}" for name, part in plain.items())


def _shortened(value: Any) -> str:
    """Hashes to their first twelve digits."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{8,}\b", r"\1…", str(value))


def _ms(value: float | None) -> Cell:
    return _cell(n.milliseconds(value))


def _cell(text: str) -> Cell:
    return Cell(text, "muted" if text in (n.NOT_AVAILABLE, n.NOT_JUDGED) else "")


def _words(name: str) -> Column:
    return Column(name, numeric=False)
