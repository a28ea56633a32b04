"""Look at the whole of a bundle: every file that bundle.json lists, and that there are no others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compressor.errors import BundleError
from compressor.runtime.manifest import AnyManifest, check_files, read_manifest, reading
from compressor.runtime.paths import real_file
from compressor.runtime.schema import CARD, MANIFEST

_NEVER_LISTED = {MANIFEST, ".gitattributes", ".gitignore"}
_NOT_THE_BUNDLES = (".git/", ".cache/huggingface/")  # what cloning and downloading from a hub leave


@dataclass(frozen=True)
class Verified:
    """A bundle that is whole. `files` and `bytes` count what bundle.json lists, and itself."""

    manifest: AnyManifest
    files: int
    bytes: int


def verify_bundle(folder: Path) -> Verified:
    """Check the manifest, size and sha256 of every file, every graph, and that no file is unlisted.

    What a hub adds to a repository is no part of the bundle and passes, and so does a README.md that was
    written for a bundle without one. Raises `BundleError` with one sentence at the first fault.
    """
    manifest = read_manifest(folder)
    entries = {entry.path: entry for entry in manifest.files()}
    check_files(folder, entries.values())
    for name in files_in(folder):
        if name not in entries and name not in _NEVER_LISTED and name != CARD:
            raise BundleError(
                f"{folder}: holds '{name:.200}', which {MANIFEST} does not list; take it out of the folder"
            )
    size = real_file(folder, MANIFEST).stat().st_size
    return Verified(manifest, 1 + len(entries), size + sum(entry.bytes for entry in entries.values()))


def files_in(folder: Path) -> Iterator[str]:
    """Names of everything in a folder but folders, links to them included; without what a hub keeps there."""
    for root, folders, files in os.walk(folder):
        at = Path(root)
        links = [name for name in folders if (at / name).is_symlink()]
        for name in sorted([*files, *links]):
            path = (at / name).relative_to(folder).as_posix()
            if not path.startswith(_NOT_THE_BUNDLES):
                yield path
        folders.sort()


def bundle_at(path: Path) -> Path:
    """The bundle folder itself, or the one in a run folder. Raises `BundleError` where it may not be read."""
    inside = path / "bundle"
    with reading(path):
        return inside if not (path / MANIFEST).exists() and (inside / MANIFEST).exists() else path
