"""Libraries that a library needs, read from its headers, and those of them that are missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from numpy._core import _multiarray_umath

from compressor.runtime.libraries import loadable, missing_for, needed_by

REAL = Path(_multiarray_umath.__file__)


def test_needs_of_a_real_library_are_found_and_load() -> None:
    found = needed_by(REAL)
    assert "libc.so.6" in found
    assert all(name.isprintable() and ".so" in name for name in found)
    assert missing_for(REAL) == []


def test_a_library_that_is_not_there_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.so"
    broken.write_bytes(REAL.read_bytes().replace(b"\0libm.so.6\0", b"\0libq.so.6\0"))
    assert "libq.so.6" in needed_by(broken)
    assert missing_for(broken) == ["libq.so.6"]


@pytest.mark.parametrize(
    "content", [b"", b"MZ not a library", b"\x7fELF\x02\x01", b"\x7fELF\x02\x01" + bytes(90)]
)
def test_other_and_broken_files_need_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert needed_by(tmp_path / "file") == []
    assert needed_by(tmp_path / "none") == []


def test_the_first_name_that_loads() -> None:
    assert loadable(["libnone.so.9", "libc.so.6"]) == "libc.so.6"
    assert loadable(["libnone.so.9"]) is None
