"""The files in an archive, one after the other. Nothing is held in memory, nothing is written.

Tar headers are read here, block by block: the standard library also understands long names and extended
headers, which it reads whole into memory however large they say they are.
"""

from __future__ import annotations

import gzip
import stat
import tarfile
import zipfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from compressor.errors import BundleError
from compressor.runtime.schema import MANIFEST

_BLOCK = tarfile.BLOCKSIZE
_PADDING = 1 << 16  # bytes of zeros that may follow the last file of a tar
_MOST_FILES = 10_000
_PIECE = 1 << 20


class Readable(Protocol):
    """What can be read from."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Member:
    """One file: its name as the archive has it, its size as the archive declares it, and its bytes."""

    name: str
    size: int
    content: Readable


def members_of(archive: Path) -> Generator[Member]:
    """The files of a `.zip` (bundle.json first) or of a compressed tar, in order.

    Read each before asking for the next. Raises `BundleError` for links, folders, devices and too many
    files; what `archive_errors` names for a damaged file.
    """
    return _zipped(archive) if archive.name.endswith(".zip") else _tarred(archive)


def _tarred(archive: Path) -> Generator[Member]:
    with gzip.open(archive, "rb") as file:
        for _ in range(_MOST_FILES):
            header = _exactly(file, _BLOCK)
            if not any(header):
                _check_end(archive, file)
                return
            entry = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
            if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or entry.size < 0:
                raise _no_file(archive, entry.name)
            reader = _Counted(file)
            yield Member(entry.name, entry.size, reader)
            _exactly(file, entry.size + -entry.size % _BLOCK - reader.read_so_far)
        raise BundleError(f"{archive}: holds more than {_MOST_FILES} files")


class _Counted:
    """How much of a stream has been read."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self.read_so_far = 0

    def read(self, size: int) -> bytes:
        found = self._file.read(size)
        self.read_so_far += len(found)
        return found


def _exactly(file: Readable, size: int) -> bytes:
    """Read on by `size` bytes, which must be there, and give the last piece of them (all of a block)."""
    piece = b""
    while size > 0:
        piece = file.read(min(size, _PIECE))
        if not piece:
            raise EOFError("it ends in the middle of a file")
        size -= len(piece)
    return piece


def _check_end(archive: Path, file: Readable) -> None:
    """Nothing but a little padding follows; reading it also compares the checksum of the whole."""
    rest = file.read(_PADDING + 1)
    if len(rest) > _PADDING or any(rest) or file.read(1):
        raise BundleError(f"{archive}: something follows the end of the archive; pack it again")


def _zipped(archive: Path) -> Generator[Member]:
    with zipfile.ZipFile(archive) as packed:
        entries = packed.infolist()
        if len(entries) > _MOST_FILES:
            raise BundleError(f"{archive}: holds more than {_MOST_FILES} files")
        for entry in sorted(entries, key=lambda each: each.filename != MANIFEST):
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if entry.is_dir() or kind not in (0, stat.S_IFREG) or entry.orig_filename != entry.filename:
                raise _no_file(archive, entry.orig_filename)
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise BundleError(
                    f"{archive}: not an archive that `bundle pack` wrote: "
                    "a method of compression that it does not use"
                )
            with packed.open(entry) as content:
                yield Member(entry.filename, entry.file_size, content)
                if content.read(1):  # also compares the checksum
                    raise zipfile.BadZipFile(f"'{entry.filename}' is larger than it says")


def _no_file(archive: Path, name: str) -> BundleError:
    return BundleError(f"{archive}: holds {name!r:.200}, which is a link, a folder or no plain file")
