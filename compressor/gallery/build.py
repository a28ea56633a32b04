"""Fill a gallery from a folder or a list of pictures, batch by batch, and again from where it was."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compressor.errors import BadImageError, DataError, MissingResourceError
from compressor.gallery.gallery import Gallery
from compressor.gallery.items import Metadata, NewItem
from compressor.gallery.pictures import decode, embed
from compressor.runtime.bundle import Bundle

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
)
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture that can be read when its turn comes. `read` raises `OSError` or `BadImageError`."""

    id: str
    read: Callable[[], bytes]
    metadata: Metadata = field(default_factory=dict)
    source: str | None = None


@dataclass(slots=True)
class Built:
    """What a build did: how many were added, how many were there already, and why others were not added."""

    added: int = 0
    there: int = 0
    bad: dict[str, str] = field(default_factory=dict)


def pictures_in(folder: Path) -> list[Entry]:
    """Every picture below a folder, by its suffix; ids are paths relative to it, with '/' on all systems.

    Hidden files and folders are left out. Raises `MissingResourceError` for a folder that is not there, and
    `DataError` for one without pictures.
    """
    if not folder.is_dir():
        raise MissingResourceError(f"{folder}: there is no such folder of pictures")
    found = [
        Entry(path.relative_to(folder).as_posix(), path.read_bytes, source=str(path.absolute()))
        for path in _files(folder)
        if path.suffix.lower() in SUFFIXES
    ]
    if not found:
        raise DataError(f"{folder}: holds no pictures ({', '.join(sorted(SUFFIXES))})")
    return found


def build(
    gallery: Gallery,
    bundle: Bundle,
    entries: Sequence[Entry],
    batch_size: int = 32,
    progress: Progress | None = None,
) -> Built:
    """Add every entry whose file is not in the gallery yet, under its id and with the same content.

    Each batch is added in one commit, so that a build can be stopped at any moment and run again. `progress`
    is told of every entry: how many are done, of how many, and how many were bad.
    """
    built, known = Built(), gallery.hashes()
    waiting: list[NewItem] = []
    for done, entry in enumerate(entries, 1):
        try:
            data = entry.read()
            if known.get(entry.id) == hashlib.sha256(data).hexdigest():
                built.there += 1
            else:
                waiting.append(NewItem(entry.id, data, entry.metadata, entry.source, decode(data)))
        except BadImageError as error:
            built.bad[entry.id] = error.reason
        except OSError as error:
            built.bad[entry.id] = error.strerror or str(error)
        if len(waiting) == batch_size or done == len(entries):
            _add(gallery, bundle, waiting, built)
            waiting = []
        if progress is not None:
            progress(done, len(entries), f"{len(built.bad)} bad" if built.bad else "")
    return built


def _add(gallery: Gallery, bundle: Bundle, items: Sequence[NewItem], built: Built) -> None:
    if not items:
        return
    added = gallery.add(items, embed(bundle, items, len(items)))
    built.added += len(added.ids)
    built.bad.update({error.id: error.reason for error in added.errors})


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(root, name).is_file():
                yield Path(root, name)
