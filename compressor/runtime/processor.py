"""What the processor does to int8 arithmetic."""

from __future__ import annotations

import platform
from pathlib import Path

_X86 = ("x86_64", "amd64", "i386", "i686")
_VNNI = {"avx512_vnni", "avx_vnni"}


def adds_int8_in_16_bits(root: Path = Path("/")) -> bool:
    """True where sums of products of uint8 and int8 may overflow: on x86 without VNNI.

    There MLAS adds two products at a time in 16 bits (the instruction VPMADDUBSW), which 2 * 255 * 127 does
    not fit into: a quantised graph gives other values than on the machine that judged it. True also where an
    x86 processor does not tell (systems without /proc/cpuinfo).
    """
    if platform.machine().lower() not in _X86:
        return False
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return True
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not _VNNI & set(flags.split())
