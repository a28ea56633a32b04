"""A bundle as one file, `.tar.gz` or `.zip`, and back.

Packing the same bundle twice gives the same bytes: names in order, no times, no owners. Unpacking believes
nothing of what an archive says but that its bundle.json is to be read first: only the files listed there are
written, each with the size listed there, into a folder that takes its place when every hash is right.
"""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from compressor.errors import BundleError
from compressor.files import atomic_file, atomic_folder
from compressor.runtime.archive_members import Member, members_of
from compressor.runtime.manifest import LARGEST_MANIFEST, read_manifest
from compressor.runtime.paths import is_plain
from compressor.runtime.schema import MANIFEST
from compressor.runtime.verify import Verified, verify_bundle

SUFFIXES = (".tar.gz", ".tgz", ".zip")
_PIECE = 1 << 20
_LEVEL = 1  # weights hardly compress; higher levels take several times as long for a percent or two
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first day that a zip file can name


def pack(folder: Path, archive: Path) -> Verified:
    """Write the bundle in `folder` to `archive`, whole or not at all; the name decides the format.

    Only listed files go in. Raises `BundleError` for a bundle that is not whole, another suffix, something in
    the archive's place, or a place inside the bundle; `DiskFullError` where the disk is full.
    """
    write = _writer_of(archive)
    if archive.is_dir():
        raise BundleError(f"{archive}: is a folder; name the file to write")
    if archive.exists() or archive.is_symlink():
        raise BundleError(f"{archive}: is there already; name a file that is not, or remove it first")
    if archive.resolve().is_relative_to(folder.resolve()):
        raise BundleError(f"{archive}: lies in the bundle, which would not be whole with it; write it beside")
    verified = verify_bundle(folder)
    names = [MANIFEST, *sorted({entry.path for entry in verified.manifest.files()})]
    with atomic_file(archive) as file:
        write(file, folder, names)
    return verified


def unpack(archive: Path, folder: Path) -> Verified:
    """Write the bundle in `archive` to `folder`, which must not exist yet, and verify it.

    Raises `BundleError` with one sentence for an archive that is damaged, cut off or not a bundle's: paths
    that lead outside, links, files that bundle.json does not list, other sizes or hashes; the folder is
    then not made. `DiskFullError` where the disk is full.
    """
    _writer_of(archive)
    if folder.exists() or folder.is_symlink():
        raise BundleError(f"{folder}: is there already; name a folder that is not, or remove it first")
    with archive_errors(archive), atomic_folder(folder) as work:
        try:
            with closing(members_of(archive)) as members:
                _extract(members, work)
            return verify_bundle(work)
        except BundleError as error:  # the folder has a name of its own until it is whole
            told = str(error).replace(f"{work}/", f"{archive}: ").replace(str(work), str(archive))
            raise BundleError(told) from error


@contextmanager
def archive_errors(archive: Path) -> Iterator[None]:
    """Turn what the libraries of archives raise into one sentence."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError, zipfile.BadZipFile) as error:
        raise BundleError(f"{archive}: damaged, cut off or no such archive: {error}") from error
    except (NotImplementedError, RuntimeError, ValueError) as error:  # encrypted, or compressed otherwise
        raise BundleError(f"{archive}: not an archive that `bundle pack` wrote: {error}") from error
    except FileNotFoundError as error:
        raise BundleError(f"{archive}: there is no such file") from error
    except IsADirectoryError as error:
        raise BundleError(f"{archive}: is a folder; name the packed file") from error


def _extract(members: Iterator[Member], work: Path) -> None:
    first = next(members, None)
    if first is None or first.name != MANIFEST or first.size > LARGEST_MANIFEST:
        raise BundleError(f"{work}: not a packed bundle, its first file is not {MANIFEST}")
    _write(first, work)
    wanted = {entry.path: entry.bytes for entry in read_manifest(work).files()}
    free = shutil.disk_usage(work).free
    if sum(wanted.values()) > free:
        raise BundleError(
            f"{work}: declares {sum(wanted.values()) / 2**20:.0f} MB of files, and the disk has "
            f"{free / 2**20:.0f} MB free"
        )
    for member in members:
        size = wanted.pop(member.name, None)
        if not is_plain(member.name):
            raise BundleError(f"{work}: holds {member.name!r:.200}, which is not a path inside the bundle")
        if size is None:
            raise BundleError(f"{work}: holds '{member.name}' twice, or it is not listed in {MANIFEST}")
        if size != member.size:
            raise BundleError(
                f"{work}: '{member.name}' has {member.size} bytes, {MANIFEST} says {size}; pack it again"
            )
        _write(member, work)


def _write(member: Member, work: Path) -> None:
    """Copy exactly as many bytes as the member has; what it inflates to beyond them is never read."""
    target = work / member.name
    target.parent.mkdir(parents=True, exist_ok=True)
    left = member.size
    with target.open("xb") as file:
        while left:
            piece = member.content.read(min(_PIECE, left))
            if not piece:
                raise EOFError(f"'{member.name}' ends too early")
            file.write(piece)
            left -= len(piece)


def _writer_of(archive: Path) -> Callable[[IO[bytes], Path, list[str]], None]:
    if archive.name.endswith((".tar.gz", ".tgz")):
        return _write_tar
    if archive.name.endswith(".zip"):
        return _write_zip
    raise BundleError(f"{archive}: the name of a packed bundle ends in {', '.join(SUFFIXES)}")


def _write_tar(file: IO[bytes], folder: Path, names: list[str]) -> None:
    with (
        gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = (folder / name).stat().st_size
            entry.mode = 0o644
            try:
                with (folder / name).open("rb") as source:
                    tar.addfile(entry, source)
            except ValueError as error:  # beyond 8 GiB, or a name beyond 255 bytes
                raise BundleError(
                    f"{folder}: '{name}' does not fit into a tar file ({error}); pack a .zip"
                ) from error


def _write_zip(file: IO[bytes], folder: Path, names: list[str]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as packed:
        for name in names:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, wherever it is packed
            entry.external_attr = 0o100644 << 16
            large = (folder / name).stat().st_size > zipfile.ZIP64_LIMIT // 2
            with (
                (folder / name).open("rb") as source,
                packed.open(entry, "w", force_zip64=large) as target,
            ):
                shutil.copyfileobj(source, target, _PIECE)
