"""metrics.jsonl."""

from __future__ import annotations

from pathlib import Path

from compressor.distill.curves import Curves, read_curves


def test_a_resumed_run_writes_no_step_twice(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with Curves(path) as curves:
        for step in range(1, 6):
            curves.write({"step": step, "losses": {"task": 1 / step}})
    with path.open("a") as file:
        file.write('{"step":6,"los')  # killed in the middle of a line
    with Curves(path, step=3) as curves:
        curves.write({"step": 4, "losses": {"task": 7.0}})
    records = read_curves(path)
    assert [record["step"] for record in records] == [1, 2, 3, 4]
    assert records[-1]["losses"] == {"task": 7.0}


def test_a_fresh_run_starts_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step":1}\n')
    Curves(path).close()
    assert read_curves(path) == []


def test_records_are_on_the_disk_as_soon_as_they_are_written(tmp_path: Path) -> None:
    with Curves(tmp_path / "metrics.jsonl") as curves:
        curves.write({"step": 1})
        assert read_curves(curves.path) == [{"step": 1}]


def test_no_file_has_no_records(tmp_path: Path) -> None:
    assert read_curves(tmp_path / "none.jsonl") == []
