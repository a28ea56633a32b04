"""Read bundle.json and find the files it names, trusting neither: paths stay inside, hashes are checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from compressor.errors import BundleError, DataError
from compressor.files import read_json, sha256_file
from compressor.runtime.graph_file import check_graph
from compressor.runtime.paths import locate, plain_path, real_file
from compressor.runtime.schema import (
    ENGINE_SUFFIX,
    GRAPH_SUFFIX,
    MANIFEST,
    PREPROCESS,
    SCHEMA_VERSION,
    TOKENIZER,
    Artifact,
    BundleManifest,
    FileEntry,
    TowerArtifact,
)
from compressor.runtime.writer_schema import WriterArtifact, WriterManifest

__all__ = ["AnyManifest", "check_files", "choose_artifact", "locate", "read_manifest", "reading"]

AnyManifest = BundleManifest | WriterManifest
OfPrecision = TypeVar("OfPrecision", Artifact, WriterArtifact)
_KINDS: dict[object, type[BundleManifest] | type[WriterManifest]] = {
    "dual_encoder": BundleManifest,
    "captioner": WriterManifest,
    "vqa": WriterManifest,
}

LARGEST_MANIFEST = 16 * 2**20  # bytes; a real one has some thousands
_DEEPEST = 32  # levels of lists and objects in one another; a real one has fewer than ten
_RUNNABLE = (GRAPH_SUFFIX, ENGINE_SUFFIX)


def read_manifest(folder: Path) -> AnyManifest:
    """The manifest of the bundle in `folder`, of the class that its `kind` asks for.

    Manifests of earlier versions are read. Raises `BundleError` where the folder is not a bundle or may not
    be read, its manifest is malformed or names paths outside the folder, or a newer version wrote it.
    """
    with reading(folder):
        return _read_manifest(folder)


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turn what the operating system refuses inside the block into a `BundleError`."""
    try:
        yield
    except OSError as error:
        raise BundleError(
            f"{folder}: cannot be read: {error.strerror} ({error.filename or 'a file of it'})"
        ) from error


def _read_manifest(folder: Path) -> AnyManifest:
    path = folder / MANIFEST
    if not folder.is_dir():
        raise BundleError(
            f"{folder}: there is no such folder; give the bundle's folder, the one with {MANIFEST}"
        )
    if not path.is_file():
        raise BundleError(f"{folder}: not a bundle, it has no {MANIFEST}")
    real_file(folder, MANIFEST)
    if path.stat().st_size > LARGEST_MANIFEST:
        raise BundleError(f"{path}: not a bundle's manifest, it has {path.stat().st_size} bytes")
    try:
        content = read_json(path, strict=True)
    except DataError as error:
        raise BundleError(str(error)) from error
    if _deeper_than(content, _DEEPEST):
        raise BundleError(f"{path}: not a bundle's manifest, it is nested more than {_DEEPEST} levels deep")
    _check_version(path, content)
    try:
        manifest = _kind_of(path, content).model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise BundleError(f"{path}: {where}: {first['msg']}; export the bundle again") from error
    _check_content(path, manifest)
    return manifest


def manifest_schema() -> dict[str, Any]:
    """JSON Schema of bundle.json, of every kind of bundle."""
    schema = TypeAdapter[AnyManifest](AnyManifest).json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _deeper_than(content: object, levels: int) -> bool:
    layer = [content]
    for _ in range(levels):
        layer = [
            item
            for each in layer
            if isinstance(each, dict | list)
            for item in (each.values() if isinstance(each, dict) else each)
        ]
    return any(isinstance(each, dict | list) for each in layer)


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
    for entry in manifest.files():
        plain_path(path.parent, entry)
    for entry, name in ((manifest.preprocess, PREPROCESS), (manifest.tokenizer, TOKENIZER)):
        if entry.path != name:
            raise BundleError(f"{path}: names '{entry.path}' where {name} belongs; export the bundle again")
    listed: dict[str, FileEntry] = {}
    for entry in manifest.files():
        same = listed.setdefault(entry.path.casefold(), entry)
        if same != entry:
            raise BundleError(f"{path}: lists '{entry.path}' twice and differently; export the bundle again")
    if MANIFEST in listed:
        raise BundleError(f"{path}: lists itself; export the bundle again")
    for graph in _graphs(manifest):
        if not graph.file.path.endswith(_RUNNABLE):
            raise BundleError(
                f"{path}: names '{graph.file.path}' where a file ending in {' or '.join(_RUNNABLE)} belongs; "
                "export the bundle again"
            )
    if isinstance(manifest, BundleManifest):
        _check_runtimes(path, manifest)


def _check_runtimes(path: Path, manifest: BundleManifest) -> None:
    """Engines are for TensorRT, and graphs are not."""
    for name, artifact in manifest.artifacts.items():
        for tower in (artifact.image, artifact.text):
            if tower.file.path.endswith(ENGINE_SUFFIX) != (artifact.runtime == "tensorrt"):
                raise BundleError(
                    f"{path}: says that '{tower.file.path}' of {name} runs in {artifact.runtime}, which does "
                    "not read such files; export the bundle again"
                )


def _graphs(manifest: AnyManifest) -> list[TowerArtifact]:
    if isinstance(manifest, WriterManifest):
        return [graph for artifact in manifest.artifacts.values() for graph in artifact.graphs.values()]
    return [tower for each in manifest.artifacts.values() for tower in (each.image, each.text)]


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
        said = f" ({why})" if why else ""
        raise BundleError(f"{folder}: has no precision '{precision}'{said}; it has {there}")
    if artifact.status != "passed" and not allow_failed:
        passed = ", ".join(name for name, entry in artifacts.items() if entry.status == "passed")
        other = f"choose another ({passed}), or " if passed else ""
        raise BundleError(
            f"{folder}: '{precision}' failed its parity gate ({artifact.reason}); "
            f"{other}open it with allow_failed=True to inspect it"
        )
    return artifact


def check_files(folder: Path, entries: Iterable[FileEntry], hashes: bool = True) -> None:
    """Compare size and (with `hashes`) sha256 of every entry's file, and look through the graphs among them.

    A graph may take weights only from files that are among the entries. Raises `BundleError` at the first
    difference, or file that may not be read.
    """
    with reading(folder):
        _check_files(folder, {entry.path: entry for entry in entries}, hashes)


def _check_files(folder: Path, listed: Mapping[str, FileEntry], hashes: bool) -> None:
    for entry in listed.values():
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
    for name in listed:
        if name.endswith(GRAPH_SUFFIX):
            _check_graph(folder, name, listed)


def _check_graph(folder: Path, name: str, listed: Mapping[str, FileEntry]) -> None:
    home = name.rpartition("/")[0]
    prefix = f"{home}/" if home else ""
    beside = {
        path.removeprefix(prefix): entry.bytes for path, entry in listed.items() if path.startswith(prefix)
    }
    try:
        check_graph(locate(folder, listed[name]), beside)
    except ValueError as error:
        raise BundleError(
            f"{folder}: '{name}' {error}; it was not loaded, export the bundle again"
        ) from error
