"""Filling a teacher store: what is missing, in which shards, by which process."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor

from compressor.data.loader import TrainingSet
from compressor.distill.processes import barrier, process_state
from compressor.distill.store_index import (
    KINDS,
    Kind,
    Shard,
    ShardEntry,
    StoreIndex,
    image_key,
    shard_name,
    text_key,
    unique,
)
from compressor.distill.teacher_forward import FrozenTeacher
from compressor.errors import ModelError, RunLockedError
from compressor.files import atomic_write_bytes
from compressor.preprocess.preprocessor import ImagePreprocessor, TextPreprocessor
from compressor.teachers.unimodal import AnyTeacher

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ShardPlan:
    """Rows that go into one shard: their keys and where their inputs come from."""

    kind: Kind
    keys: tuple[bytes, ...]
    sources: tuple[Any, ...]
    """For images (row, view); for texts the caption."""

    @property
    def entry(self) -> ShardEntry:
        return ShardEntry(shard_name(self.kind, self.keys), len(self.keys))


@dataclass
class StoreBuilder:
    """One build of one store folder."""

    folder: Path
    key: str
    teacher: AnyTeacher
    training_set: TrainingSet
    batch_size: int
    shard_rows: int
    progress: Progress | None

    def run(self, views: Sequence[int], wait: bool) -> None:
        """Compute every missing row; all processes of the group call this together."""
        state = process_state()
        with build_lock(self.folder, wait) if state.is_main_process else nullcontext():
            barrier()
            if state.is_main_process:
                self._adopt_finished_shards().write(self.folder)
            barrier()
            index = StoreIndex.read(self.folder, self.key)
            assert index is not None  # written above by the main process
            plans = list(self.plan(views, index))
            self._write_shards(plans[state.process_index :: state.num_processes], state.device)
            barrier()
            if state.is_main_process and plans:
                for plan in plans:
                    index.shards[plan.kind].append(plan.entry)
                index.write(self.folder)
            barrier()

    def plan(self, views: Sequence[int], index: StoreIndex) -> Iterator[ShardPlan]:
        """Shards for the rows that the index lacks, taken in the training set's order.

        The same for any number of ranks.
        """
        rows = self.training_set.rows
        for kind in kinds_of(self.teacher):
            sources: list[Any]
            if kind == "image":
                sources = [(i, view) for view in views for i in range(len(rows))]
                keys = [image_key(self.training_set.digest(i), rows[i].id, view) for i, view in sources]
            else:
                sources = [caption for row in rows for caption in row.captions]
                keys = [text_key(caption) for caption in sources]
            present = self._keys_of(index, kind)
            missing = [(key, at) for key, at in unique(keys).items() if key not in present]
            for start in range(0, len(missing), self.shard_rows):
                part = missing[start : start + self.shard_rows]
                if kind == "text":  # captions of like length share a batch, which is then mostly words
                    part.sort(key=lambda item: len(sources[item[1]]))
                yield ShardPlan(kind, tuple(key for key, _ in part), tuple(sources[at] for _, at in part))

    def _keys_of(self, index: StoreIndex, kind: Kind) -> set[bytes]:
        shards = (Shard(self.folder / entry.file) for entry in index.shards[kind])
        return {bytes(key) for shard in shards for key in np.asarray(shard.keys)}

    def _adopt_finished_shards(self) -> StoreIndex:
        """The index with what a killed build finished added, and what someone deleted dropped."""
        dim = int(self.teacher.encoder.embed_dim)
        index = StoreIndex.read(self.folder, self.key) or StoreIndex(
            self.key, dim, {kind: [] for kind in KINDS}
        )
        for kind in KINDS:
            kept = [entry for entry in index.shards[kind] if (self.folder / entry.file).is_file()]
            known = {entry.file for entry in kept}
            for path in sorted(self.folder.glob(f"{kind}-*.safetensors")):
                if path.name not in known and (rows := self._usable_rows(path, dim)):
                    kept.append(ShardEntry(path.name, rows))
            index.shards[kind] = kept
        return index

    def _usable_rows(self, path: Path, dim: int) -> int:
        try:
            shard = Shard(path)
        except ModelError as error:
            log.warning("%s", error)
            return 0
        return shard.rows if shard.store_key == self.key and shard.dim == dim else 0

    def _write_shards(self, plans: Sequence[ShardPlan], device: torch.device) -> None:
        total = sum(len(plan.keys) for plan in plans)
        if not total:
            return
        teacher = FrozenTeacher(self.teacher, device)
        done = 0
        with ThreadPoolExecutor(1, thread_name_prefix="teacher-inputs") as pool:
            for plan in plans:
                parts = []
                for embeddings in self._embed(plan, teacher, pool):
                    parts.append(embeddings)
                    done += len(embeddings)
                    if self.progress is not None:
                        self.progress(done, total)
                self._write(plan, np.concatenate(parts))

    def _embed(
        self, plan: ShardPlan, teacher: FrozenTeacher, pool: ThreadPoolExecutor
    ) -> Iterator[np.ndarray]:
        """Embeddings batch by batch; the next batch is prepared while the teacher works."""
        prepare, encode = (
            (self._pixels, teacher.images) if plan.kind == "image" else (self._tokens, teacher.texts)
        )
        pieces = [plan.sources[i : i + self.batch_size] for i in range(0, len(plan.sources), self.batch_size)]
        waiting = pool.submit(prepare, pieces[0])
        for following in [*pieces[1:], None]:
            inputs = waiting.result()
            if following is not None:
                waiting = pool.submit(prepare, following)
            yield self._in_half(encode(inputs))

    def _in_half(self, rows: Tensor) -> np.ndarray:
        half = rows.half()
        if not bool(torch.isfinite(half).all()):
            largest, most = float(rows.abs().amax()), torch.finfo(half.dtype).max
            raise ModelError(
                f"the teacher '{self.teacher.name}' gave values up to {largest:.3g}, and half precision, in "
                f"which they are stored, ends at {most:.0f}: set distill.signals: live"
            )
        stored: np.ndarray = half.cpu().numpy()
        return stored

    def _pixels(self, sources: Sequence[tuple[int, int]]) -> Tensor:
        preprocessor = self.teacher.preprocessor
        assert isinstance(preprocessor, ImagePreprocessor)
        spec = preprocessor.image
        return torch.stack([self.training_set.view_pixels(i, view, spec) for i, view in sources])

    def _tokens(self, captions: Sequence[str]) -> Tensor:
        preprocessor = self.teacher.preprocessor
        assert isinstance(preprocessor, TextPreprocessor)
        return torch.from_numpy(preprocessor.texts(captions))

    def _write(self, plan: ShardPlan, embeddings: np.ndarray) -> None:
        keys = np.frombuffer(b"".join(plan.keys), np.uint8).reshape(len(plan.keys), -1)
        data = save({"embeddings": embeddings, "keys": keys}, metadata={"store": self.key})
        atomic_write_bytes(self.folder / plan.entry.file, data)


def kinds_of(teacher: AnyTeacher) -> list[Kind]:
    """Rows that a teacher has: of images, of captions, or of both."""
    sides: dict[Kind, type] = {"image": ImagePreprocessor, "text": TextPreprocessor}
    return [kind for kind in KINDS if isinstance(teacher.preprocessor, sides[kind])]


@contextmanager
def build_lock(folder: Path, wait: bool) -> Iterator[None]:
    """Hold the only right to build in `folder`; freed by the system when the process dies.

    Raises `RunLockedError` when another process holds it and `wait` is false.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if not wait:
                raise RunLockedError(
                    f"another process is building the teacher store {folder}; try again later"
                ) from error
            log.warning("another process is building the teacher store %s; waiting for it", folder)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
