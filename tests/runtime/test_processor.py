from __future__ import annotations

import platform
from pathlib import Path

import pytest

from compressor.runtime.processor import adds_int8_in_16_bits


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "overflows"),
    [
        ("x86_64", "model name : Core\nflags : sse4_2 avx2\n", True),
        ("x86_64", "flags : sse4_2 avx2 avx512f avx512_vnni\n", False),
        ("AMD64", "flags : avx2 avx_vnni\n", False),
        ("x86_64", "nothing of use\n", True),
        ("x86_64", None, True),
        ("AMD64", None, True),
        ("aarch64", "Features : fp asimd\n", False),
        ("arm64", None, False),
    ],
)
def test_sums_overflow_on_x86_that_has_no_vnni_or_does_not_tell(
    machine: str, cpuinfo: str | None, overflows: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    if cpuinfo is not None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/cpuinfo").write_text(cpuinfo)
    assert adds_int8_in_16_bits(tmp_path) is overflows
