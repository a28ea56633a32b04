"""Read bundle.json and find the files it names, trusting neither: paths stay inside, hashes are checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

from pydantic import ValidationError

from compressor.errors import BundleError, DataError
from compressor.files import read_json, sha256_file
from compressor.runtime.schema import (
    MANIFEST,
    PREPROCESS,
    SCHEMA_VERSION,
    TOKENIZER,
    Artifact,
    BundleManifest,
    FileEntry,
)
from compressor.runtime.writer_schema import WriterArtifact, WriterManifest

AnyManifest = BundleManifest | WriterManifest
OfPrecision = TypeVar("OfPrecision", Artifact, WriterArtifact)
_KINDS: dict[object, type[BundleManifest] | type[WriterManifest]] = {
    "dual_encoder": BundleManifest,
    "captioner": WriterManifest,
    "vqa": WriterManifest,
}

_LARGEST_MANIFEST = 64 * 2**20  # bytes; a real one has a few thousand


def read_manifest(folder: Path) -> AnyManifest:
    """The manifest of the bundle in `folder`, of the class that its `kind` asks for.

    Raises `BundleError` where the folder is not a bundle, its manifest is malformed, or a newer version
    wrote it.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise BundleError(
            f"{folder}: there is no such folder; give the bundle's folder, the one with {MANIFEST}"
        )
    if not path.is_file():
        raise BundleError(f"{folder}: not a bundle, it has no {MANIFEST}")
    if path.stat().st_size > _LARGEST_MANIFEST:
        raise BundleError(f"{path}: not a bundle's manifest, it has {path.stat().st_size} bytes")
    try:
        content = read_json(path)
    except DataError as error:
        raise BundleError(str(error)) from error
    _check_version(path, content)
    try:
        manifest = _kind_of(path, content).model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise BundleError(f"{path}: {where}: {first['msg']}; export the bundle again") from error
    _check_content(path, manifest)
    return manifest


def _check_version(path: Path, content: object) -> None:
    version = content.get("schema_version") if isinstance(content, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise BundleError(f"{path}: not a bundle's manifest, it has no schema_version")
    if version > SCHEMA_VERSION:
        raise BundleError(
            f"{path}: written by a newer version (schema {version}, this one reads up to {SCHEMA_VERSION}); "
            "upgrade with `pip install -U compressor`"
        )


def _kind_of(path: Path, content: dict[str, Any]) -> type[BundleManifest] | type[WriterManifest]:
    kind = content.get("kind", "dual_encoder")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise BundleError(
            f"{path}: a bundle of kind {str(kind)[:40]!r} is not known to this version; "
            f"it opens {', '.join(map(str, _KINDS))}"
        )
    return _KINDS[kind]


def _check_content(path: Path, manifest: AnyManifest) -> None:
    if manifest.default_precision not in manifest.artifacts:
        raise BundleError(
            f"{path}: the default precision '{manifest.default_precision}' is not among its artifacts "
            f"({', '.join(manifest.artifacts) or 'none'}); export the bundle again"
        )
    for entry, name in ((manifest.preprocess, PREPROCESS), (manifest.tokenizer, TOKENIZER)):
        if entry.path != name:
            raise BundleError(f"{path}: names '{entry.path}' where {name} belongs; export the bundle again")


def choose_artifact(
    folder: Path,
    artifacts: Mapping[str, OfPrecision],
    not_made: Mapping[str, str],
    precision: str,
    allow_failed: bool,
) -> OfPrecision:
    """The artifact of a precision. Raises `BundleError` where there is none, or where it failed and
    `allow_failed` is false."""
    artifact = artifacts.get(precision)
    there = ", ".join(
        name if entry.status == "passed" else f"{name} (failed)" for name, entry in artifacts.items()
    )
    if artifact is None:
        why = not_made.get(precision)
        said = f" because it could not be made ({why})" if why else ""
        raise BundleError(f"{folder}: has no precision '{precision}'{said}; it has {there}")
    if artifact.status != "passed" and not allow_failed:
        raise BundleError(
            f"{folder}: '{precision}' failed its parity gate ({artifact.reason}); "
            f"choose another of {there}, or open it with allow_failed=True to inspect it"
        )
    return artifact


def locate(folder: Path, entry: FileEntry) -> Path:
    """Absolute path of a file of the bundle.

    Raises `BundleError` where the path is absolute, leaves the folder (`..` or a symbolic link), or is no
    file.
    """
    name = entry.path
    windows = PureWindowsPath(name)  # the stricter reading: knows drives, and both kinds of slash
    outside = (
        not name
        or not name.isprintable()
        or "\\" in name
        or windows.drive
        or windows.root
        or ".." in PurePosixPath(name).parts
    )
    if outside:
        raise BundleError(f"{folder}: {MANIFEST} names {name!r}, which is not a path inside the bundle")
    try:
        path = (folder / name).resolve()
        inside, there = path.is_relative_to(folder.resolve()), path.is_file()
    except (OSError, RuntimeError) as error:  # a name too long for the disk, links in a circle
        raise BundleError(
            f"{folder}: {MANIFEST} names {name!r:.80}, which cannot be read: {error}"
        ) from error
    if not inside:
        raise BundleError(f"{folder}: '{name}' is a link to outside the bundle; copy the file itself into it")
    if not there:
        raise BundleError(f"{folder}: '{name}' is missing; the bundle is incomplete, copy or export it again")
    return path


def check_files(folder: Path, entries: Iterable[FileEntry], hashes: bool = True) -> None:
    """Compare size and (with `hashes`) sha256 of every entry's file. Raises `BundleError` at the first
    difference."""
    for entry in entries:
        path = locate(folder, entry)
        size = path.stat().st_size
        if size != entry.bytes:
            raise BundleError(
                f"{folder}: '{entry.path}' has {size} bytes, {MANIFEST} says {entry.bytes}; "
                "copy or export the bundle again"
            )
        if hashes and sha256_file(path) != entry.sha256.lower():
            raise BundleError(
                f"{folder}: '{entry.path}' is not the file that was exported (sha256 differs); "
                "copy or export the bundle again"
            )
