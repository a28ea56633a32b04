"""The table of what a student that writes was exported to."""

from __future__ import annotations

from typing import Any

from compressor.report.results import Results
from compressor.report.run_tables import artifacts_table
from compressor.report.tables import Table

GRAPH = {"cosine": 0.99991, "worst_cosine": 0.9987, "bytes": 2_000_000, "status": "passed"}


def artifact(**changes: Any) -> dict[str, Any]:
    return {
        "graphs": {"vision": GRAPH, "decoder": GRAPH | {"reason": "42% of the weights are int8"}},
        "equal_greedy": 1.0,
        "equal_beams": 0.96875,
        "texts": 32,
        "loss_delta": 0.0123,
        "p50_ms": 4.56,
        "status": "passed",
    } | changes


def table(artifacts: dict[str, Any], **keys: Any) -> Table:
    recipe = {"teacher": {"kind": "blip", "head": "caption"}}
    return artifacts_table(Results(name="x", recipe=recipe, artifacts=artifacts, **keys))


def texts(found: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in found.rows]


def test_each_graph_has_a_row_and_the_first_has_what_belongs_to_all() -> None:
    found = table({"fp32": artifact()})
    first, second = texts(found)
    assert first[:2] == ["fp32", "vision"]
    assert (first[6][:5], first[7][:4]) == ("100.0", "96.9")
    assert first[8] == "+0.0123"
    assert second[1] == "decoder"
    assert second[5:9] == [""] * 4
    assert "fp32 decoder: 42% of the weights are int8." in found.note
    assert "Texts of 32 pictures were compared token for token." in found.note


def test_a_failure_shows_though_each_graph_passed() -> None:
    found = table(
        {"fp32": artifact(), "int8": artifact(status="failed", reason="2 of 32 texts", p50_ms=None)}
    )
    assert [row[9] for row in texts(found)] == ["✓ passed", "✓ passed", "✕ failed", "✓ passed"]
    assert "int8: 2 of 32 texts." in found.note


def test_what_is_slower_and_what_was_not_made_are_told() -> None:
    found = table({"fp32": artifact(), "int8": artifact(slower_than_fp32=True)}, not_made={"fp16": "no luck"})
    rows = texts(found)
    assert rows[0][10] == ""
    assert rows[2][10] == "✕ slower than fp32"
    assert (rows[4][0], rows[4][9], len(rows[4])) == ("fp16", "not made", len(rows[0]))
    assert "fp16: no luck." in found.note


def test_a_rehearsal_judges_no_texts() -> None:
    (first, _) = texts(table({"fp32": artifact()}, rehearsal=True))
    assert len({first[6], first[7], first[8]}) == 1
    assert first[8] != "+0.0123"
