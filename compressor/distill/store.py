"""The teacher's embeddings of every training view and caption, computed once and kept by content."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compressor.data.loader import TrainingSet
from compressor.distill.store_build import Progress, StoreBuilder
from compressor.distill.store_index import (
    STORE_VERSION,
    Key,
    Kind,
    Rows,
    StoreIndex,
    image_key,
    open_rows,
    text_key,
)
from compressor.errors import MissingResourceError
from compressor.files import hash_json
from compressor.teachers.unimodal import AnyTeacher

PIXELS_VERSION = 1
"""Raised when the way from decoded pixels to a view changes: older stores are then stale."""


def store_key(teacher: AnyTeacher, training_set: TrainingSet) -> str:
    """What a store belongs to: teacher weights, its preprocessing, and the augmentation that draws the views.

    Pictures and captions are not in it: their rows are keyed by content, so that changed data keeps the
    store.
    """
    augmentation = training_set.augmentation
    views = {"config": augmentation.model_dump(mode="json", exclude={"views"}), "seed": training_set.seed}
    return hash_json(
        {
            "store": STORE_VERSION,
            "pixels": PIXELS_VERSION,
            "teacher": teacher.fingerprint,
            "preprocessing": teacher.preprocessor.fingerprint,
            "views": views if augmentation.active else None,
        }
    )


class TeacherStore:
    """An open store: embeddings by row number, memory-mapped where they are many. Any number of readers."""

    def __init__(self, folder: Path, index: StoreIndex) -> None:
        self.folder = folder
        self.fingerprint = index.key
        self.dim = index.dim
        self._rows: dict[Kind, Rows] = {kind: open_rows(folder, index, kind) for kind in ("image", "text")}
        self._numbers = {kind: rows.numbers() for kind, rows in self._rows.items()}

    @classmethod
    def open(cls, folder: Path, key: str) -> TeacherStore:
        """Open the finished store in `folder`.

        Raises:
            MissingResourceError: there is none. ModelError: it belongs to another teacher, preprocessing or
            augmentation (`key` differs), or is damaged.
        """
        index = StoreIndex.read(folder, key)
        if index is None:
            raise MissingResourceError(
                f"there is no teacher store in {folder}; `compressor cache RECIPE` builds it"
            )
        return cls(folder, index)

    @classmethod
    def build(
        cls,
        folder: Path,
        teacher: AnyTeacher,
        training_set: TrainingSet,
        views: Sequence[int],
        batch_size: int = 64,
        progress: Progress | None = None,
        shard_rows: int = 1024,
        wait: bool = True,
    ) -> TeacherStore:
        """Bring the store in `folder/<key>` up to date, running the teacher on the rows that are missing.

        A teacher of one modality has rows of that one only, in the length that it gives them.
        Rows are grouped into shards by a plan that does not depend on the number of processes; each process
        writes every world-th shard. A shard appears whole or not at all, so a killed build goes on where it
        was. While another process builds the same store this one waits (`wait=False`: raises
        `RunLockedError`). `progress(done, total)` counts the rows of this process.

        Raises:
            ModelError: the teacher gives NaN, or values that half precision cannot hold.
            DiskFullError: no space left; finished shards stay.
        """
        key = store_key(teacher, training_set)
        builder = StoreBuilder(folder / key, key, teacher, training_set, batch_size, shard_rows, progress)
        builder.run(views, wait)
        return cls.open(folder / key, key)

    @property
    def image_rows(self) -> int:
        return len(self._rows["image"])

    @property
    def text_rows(self) -> int:
        return len(self._rows["text"])

    @property
    def bytes(self) -> int:
        """Size on the disk."""
        return sum(file.stat().st_size for file in self.folder.iterdir() if file.is_file())

    def image_numbers(self, training_set: TrainingSet, view: int) -> NDArray[np.int64]:
        """(N,) row numbers of one view of every training image."""
        keys = [image_key(training_set.digest(i), row.id, view) for i, row in enumerate(training_set.rows)]
        return self._find("image", keys, lambda i: f"image '{training_set.rows[i].id}', view {view}")

    def text_numbers(self, training_set: TrainingSet) -> NDArray[np.int64]:
        """(M,) row numbers of all captions, image by image."""
        captions = [caption for row in training_set.rows for caption in row.captions]
        return self._find("text", [text_key(c) for c in captions], lambda i: f"caption '{captions[i][:40]}'")

    def images(self, numbers: NDArray[np.int64]) -> NDArray[np.float16]:
        """(n,) row numbers -> (n, D)."""
        return self._rows["image"].gather(numbers)

    def texts(self, numbers: NDArray[np.int64]) -> NDArray[np.float16]:
        """(n,) row numbers -> (n, D)."""
        return self._rows["text"].gather(numbers)

    def _find(self, kind: Kind, keys: list[Key], describe: Callable[[int], str]) -> NDArray[np.int64]:
        table = self._numbers[kind]
        numbers = np.fromiter((table.get(key, -1) for key in keys), np.int64, len(keys))
        missing = np.flatnonzero(numbers < 0)
        if len(missing):
            raise MissingResourceError(
                f"the teacher store {self.folder} lacks {len(missing)} of {len(keys)} {kind} rows "
                f"(first: {describe(int(missing[0]))}); `compressor cache RECIPE` computes them"
            )
        return numbers
