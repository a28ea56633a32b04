"""`metrics.jsonl`: one line an optimiser step, one a validation. Torch-free."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from compressor.files import atomic_write_text, disk_full_named


class Curves:
    """Appends records to a file, flushed line by line.

    Opening it to resume drops the lines after `step` (a killed run wrote further than its last checkpoint)
    and a last line that was cut off, so that no step stands there twice.
    """

    def __init__(self, path: Path, step: int = 0) -> None:
        self.path = path
        kept = [line for line in read_curves(path) if line["step"] <= step] if step else []
        atomic_write_text(path, "".join(_line(record) for record in kept))
        self._file = path.open("a", encoding="utf-8")

    def write(self, record: dict[str, Any]) -> None:
        """Append one record; raises `DiskFullError` when it does not fit."""
        with disk_full_named(self.path):
            self._file.write(_line(record))
            self._file.flush()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_curves(path: Path) -> list[dict[str, Any]]:
    """All whole records of a metrics file, in order; none where there is no file."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        records.append(json.loads(line))
    return records


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n"
