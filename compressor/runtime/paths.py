"""Paths that a bundle names: inside its folder, written one way, and files rather than links."""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath

from compressor.errors import BundleError
from compressor.runtime.schema import MANIFEST, FileEntry

_LINK = (
    "is a symbolic link, as in the hub's cache, and a bundle holds the files themselves; download with "
    "`hf download REPOSITORY --local-dir FOLDER` or copy with `cp -rL`"
)
_LONGEST = 240  # characters; what file systems and archives of all machines hold


def is_plain(name: str) -> bool:
    """True for a relative path with forward slashes that means the same file inside a folder everywhere.

    False for absolute paths, drives, `..`, backslashes, control characters, empty or superfluous parts.
    """
    return (
        0 < len(name) <= _LONGEST
        and name.isprintable()
        and not any(sign in name for sign in "\\:")
        and not {"", ".", ".."} & set(name.split("/"))
    )


def plain_path(folder: Path, entry: FileEntry) -> str:
    """The path of a file that bundle.json lists. Raises `BundleError` where it is not plain."""
    if not is_plain(entry.path):
        raise BundleError(
            f"{folder}: {MANIFEST} names {entry.path!r:.200}, which is not a path inside the bundle"
        )
    return entry.path


def locate(folder: Path, entry: FileEntry) -> Path:
    """Absolute path of a file that bundle.json lists.

    Raises `BundleError` where the path is not plain, a part of it is a link, or there is no such file.
    """
    return real_file(folder, plain_path(folder, entry))


def real_file(folder: Path, name: str) -> Path:
    """Absolute path of a file in the folder by its plain name.

    Links are refused even where they lead to a file of the bundle: what a folder holds must not depend on
    what lies beside it. Raises `BundleError` for them, and where there is no file.
    """
    home = folder.resolve()
    mode = 0
    try:
        for part in (*reversed(PurePosixPath(name).parents[:-1]), PurePosixPath(name)):
            mode = (home / part).lstat().st_mode
            if stat.S_ISLNK(mode):
                raise BundleError(f"{folder}: '{part}' {_LINK}")
        inside = (home / name).resolve().is_relative_to(home)  # what `lstat` does not know: a junction
    except (FileNotFoundError, NotADirectoryError):
        mode, inside = 0, True
    except OSError as error:  # a part that is too long for the disk, a folder that may not be entered
        raise BundleError(f"{folder}: '{name:.80}' cannot be read: {error.strerror}") from error
    if not inside:
        raise BundleError(f"{folder}: '{name}' leads out of the bundle; copy the file itself into it")
    if not stat.S_ISREG(mode):
        raise BundleError(f"{folder}: '{name}' is missing; the bundle is incomplete, copy or export it again")
    return home / name
