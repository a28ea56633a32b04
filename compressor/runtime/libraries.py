"""Shared libraries by name: which ones a library was linked with, and which of those cannot be loaded here.

A GPU library that does not load says at most one name; a person who has to install the missing ones wants
them all.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

_LOAD, _DYNAMIC = 1, 2
_END, _NEEDED, _STRINGS = 0, 1, 5
_LONGEST_NAME = 512


def missing_for(library: Path) -> list[str]:
    """Names of the libraries that `library` needs and that cannot be loaded in this process, in its order.

    Libraries that the process has loaded before, from wherever, count as there. Empty where nothing is
    missing, and for a file that is not a 64-bit little-endian ELF library (Windows, macOS).
    """
    return [name for name in needed_by(library) if not _loads(name)]


def needed_by(library: Path) -> list[str]:
    """Names in the dynamic section of an ELF library (`DT_NEEDED`); empty for any other file.

    Only its headers are read: the file may have hundreds of megabytes and is not run.
    """
    try:
        with library.open("rb") as file:
            return _needed(file) if file.read(6) == b"\x7fELF\x02\x01" else []
    except (OSError, struct.error):
        return []


def loadable(names: Iterable[str]) -> str | None:
    """The first of several names of a library that can be loaded, None where none can."""
    return next((name for name in names if _loads(name)), None)


def _needed(file: BinaryIO) -> list[str]:
    """Program headers give the dynamic table, which gives the string table and the places of the names in
    it. The table speaks of addresses; the loadable segments say where in the file those lie."""
    file.seek(32)
    (headers,) = struct.unpack("<Q", file.read(8))
    file.seek(54)
    size, count = struct.unpack("<HH", file.read(4))
    segments, dynamic = [], (0, 0)
    for number in range(count):
        file.seek(headers + number * size)
        kind, _, offset, address, _, length = struct.unpack("<IIQQQQ", file.read(40))
        if kind == _LOAD:
            segments.append((address, offset, length))
        elif kind == _DYNAMIC:
            dynamic = (offset, length)
    file.seek(dynamic[0])
    entries = list(struct.iter_unpack("<QQ", file.read(dynamic[1] // 16 * 16)))
    entries = entries[: next((place for place, (tag, _) in enumerate(entries) if tag == _END), len(entries))]
    strings = next((value for tag, value in entries if tag == _STRINGS), 0)
    start = next((at + strings - base for base, at, length in segments if base <= strings < base + length), 0)
    return [_string(file, start + value) for tag, value in entries if tag == _NEEDED]


def _string(file: BinaryIO, offset: int) -> str:
    file.seek(offset)
    return file.read(_LONGEST_NAME).split(b"\0")[0].decode("utf-8", "replace")


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
