"""Files written whole or not at all, JSON, and content hashes. Imports nothing heavy.

Everything that a later run trusts goes through here: it is written under a temporary name in the same folder,
flushed to the disk, and renamed into place. A killed process leaves the old file or none, never half of one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import secrets
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from compressor.errors import CompressorError, DataError, DiskFullError

_TEMPORARY = ".tmp-"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FULL_WORDS = ("No space left on device", "os error 28", "Disk quota exceeded", "code: 28,")


@contextmanager
def atomic_file(path: Path | str) -> Iterator[IO[bytes]]:
    """A temporary file to fill, which takes its place at `path` when the block ends without an exception.

    Missing parent folders are made. Raises `DiskFullError` where the disk is full (what was there before
    stays).
    """
    target = Path(path)
    with disk_full_named(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target)
        temporary = _temporary_beside(target)
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)


def atomic_write_bytes(path: Path | str, data: bytes) -> None:
    """Write `data` to `path` whole or not at all; missing parent folders are made.

    Raises `DiskFullError` where the disk is full (what was there before stays).
    """
    with atomic_file(path) as file:
        file.write(data)


def atomic_write_text(path: Path | str, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all. Line ends stay as they are."""
    atomic_write_bytes(path, text.encode("utf-8"))


def write_json(path: Path | str, obj: Any) -> None:
    """Write `obj` as readable JSON, whole or not at all.

    Raises `ValueError` for NaN and infinities, which JSON does not have: a missing figure is null.
    """
    atomic_write_text(path, json_text(obj))


def json_text(obj: Any) -> str:
    """`obj` as readable JSON with a line end. Raises `ValueError` for NaN and infinities."""
    return json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path | str, *, strict: bool = False) -> Any:
    """The content of a JSON file.

    `strict`, for a file of unknown origin, refuses what readers of JSON understand in different ways: a key
    that stands twice in one object, NaN and infinities. Raises `FileNotFoundError` where there is no file,
    `DataError` (path, line, cause) where it is not JSON.
    """
    target = Path(path)
    hooks: dict[str, Any] = {}
    if strict:
        hooks = {"object_pairs_hook": _unique, "parse_constant": _no_number, "parse_float": _finite}
    try:
        return json.loads(target.read_bytes().decode("utf-8-sig"), **hooks)
    except json.JSONDecodeError as error:
        raise DataError(f"{target}:{error.lineno}: not valid JSON: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{target}: not valid JSON: it is not UTF-8 text (byte {error.start})") from error
    except RecursionError as error:
        raise DataError(f"{target}: not usable JSON: nested too deeply") from error
    except ValueError as error:  # an integer of thousands of digits
        raise DataError(f"{target}: not usable JSON: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"the key {twice!r:.80} stands twice in one object")
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number in JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(f"{text:.40}")


def sha256_file(path: Path | str) -> str:
    """Hex sha256 of a file's content, read in pieces."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(obj: Any) -> str:
    """Hex blake2b-128 of `obj` as canonical JSON (sorted keys, no spaces): equal values have equal hashes.

    Raises `TypeError` for what JSON cannot hold and `ValueError` for NaN and infinities.
    """
    text = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """A temporary folder to fill, which takes its place at `path` when the block ends without an exception.

    A folder that was at `path` is replaced as a whole; after an exception it is untouched and the temporary
    one is gone. Raises `DiskFullError` where the disk is full.
    """
    target = Path(path)
    with disk_full_named(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target)
        temporary = _temporary_beside(target)
        temporary.mkdir()
        try:
            yield temporary
            _sync_tree(temporary)
            _take_place(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync_folder(target.parent)


@contextmanager
def disk_full_named(path: Path | str) -> Iterator[None]:
    """Turn 'no space left' inside the block into `DiskFullError` with the path and the free space."""
    try:
        yield
    except Exception as error:
        if isinstance(error, DiskFullError) or not _means_full(error):
            raise
        raise DiskFullError(f"{path}: no space left on the disk ({_free_space(Path(path))})") from error


@contextmanager
def system_errors_named(what: str) -> Iterator[None]:
    """Turn an error of the operating system inside the block into one sentence that starts with `what`."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever read our output has had enough, which is no failure
    except OSError as error:
        reason, file = error.strerror or str(error), error.filename or "no file named"
        raise CompressorError(f"{what}: {reason} ({file})") from error


def _means_full(error: Exception) -> bool:
    """True for a full disk or quota, which safetensors only says in the text of its own exception."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    return any(words in str(error) for words in _FULL_WORDS)


def _free_space(path: Path) -> str:
    for folder in (path, *path.parents):
        with suppress(OSError):
            return f"{shutil.disk_usage(folder).free / 2**20:.0f} MB free"
    return "free space unknown"


def _temporary_beside(target: Path) -> Path:
    name = f".{target.name}{_TEMPORARY}{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    return target.with_name(name)


def _remove_abandoned(target: Path) -> None:
    """Delete what a killed process of this machine left under temporary names of `target`."""
    prefix = f".{target.name}{_TEMPORARY}{socket.gethostname()}-"
    with os.scandir(target.parent) as entries:
        found = [entry for entry in entries if entry.name.startswith(prefix)]
    for entry in found:
        process = entry.name.removeprefix(prefix).split("-")[0]
        if process.isdigit() and not _is_running(int(process)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    """False only when there is surely no such process; someone else's counts as running."""
    with suppress(PermissionError, OverflowError):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
    return True


def _take_place(temporary: Path, target: Path) -> None:
    """Rename a folder over another; a crash between the two renames leaves none, and a rerun builds it."""
    if not target.exists():
        temporary.rename(target)
        return
    old = _temporary_beside(target)
    target.rename(old)
    try:
        temporary.rename(target)
    except BaseException:
        old.rename(target)
        raise
    if stat.S_ISDIR(old.lstat().st_mode):
        shutil.rmtree(old, ignore_errors=True)
    else:
        old.unlink()


def _sync_tree(folder: Path) -> None:
    for root, _, names in os.walk(folder):
        for name in names:
            file = Path(root, name)
            if not file.is_symlink():
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
        _sync_folder(Path(root))


def _sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable, where the file system can (network ones may refuse)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
