"""Bundles that were changed by somebody who also wrote the hashes anew."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from compressor.files import sha256_file

Content = dict[str, Any]


def edit(folder: Path, change: Callable[[Content], object]) -> None:
    """Change what bundle.json says."""
    content = json.loads((folder / "bundle.json").read_text())
    change(content)
    (folder / "bundle.json").write_text(json.dumps(content))


def entries(part: Any) -> Iterator[Content]:
    """Every file entry of a manifest."""
    if isinstance(part, dict) and "sha256" in part:
        yield part
    elif isinstance(part, dict | list):
        for item in part.values() if isinstance(part, dict) else part:
            yield from entries(item)


def replace(folder: Path, name: str, data: bytes) -> None:
    """Put another file in the place of a listed one, with its size and its hash."""
    (folder / name).write_bytes(data)

    def reseal(content: Content) -> None:
        for entry in entries(content):
            if entry["path"] == name:
                entry.update(bytes=len(data), sha256=sha256_file(folder / name))

    edit(folder, reseal)
