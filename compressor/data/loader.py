"""From rows to batches: geometry, views, sampled captions, an order that can be resumed at any step."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.data.augment import View, apply_view, finish_view, plain_pixels, view_parameters
from compressor.data.decoded import DecodedImages
from compressor.data.pairs import PairSet, Row
from compressor.data.randomness import keyed_integer, keyed_permutation
from compressor.errors import DataError
from compressor.preprocess.preprocessor import ImagePreprocessor, Preprocessor, TextPreprocessor
from compressor.preprocess.spec import ImageSpec
from compressor.recipe.training import Augmentation

PLAIN_BYTES = 1_000_000_000
"""Plain pixels are kept in memory while all of them together take less than this."""


@dataclass(frozen=True)
class TeacherInputs:
    """A batch as one live teacher takes it; None for what a teacher of one modality does not look at.

    `pixels` (B, 3, H, W) uint8, `input_ids` (B, L) int64 with padding only where there is no caption.
    """

    pixels: Tensor | None
    input_ids: Tensor | None


@dataclass
class Batch:
    """B rows of the training set, all in the same view.

    `index` (B,) int64: rows of the training set. `caption` (B,) int64: number of the caption in its row, -1 =
    none. `pixels` (B, 3, H, W) uint8 and `input_ids` (B, L) int64 are the student's; rows without a caption
    hold padding only and are False in `has_caption` (B,) bool. `teachers` are the inputs of each teacher that
    the training set prepares for, in its order.
    """

    index: Tensor
    caption: Tensor
    view: int
    pixels: Tensor
    input_ids: Tensor
    has_caption: Tensor
    teachers: tuple[TeacherInputs, ...] = ()


def normalize_pixels(pixels: Tensor, spec: ImageSpec) -> Tensor:
    """(…, 3, H, W) uint8 -> float32 on the same device, in the order of steps of `preprocess.normalize`."""
    mean = torch.tensor(spec.mean, dtype=torch.float32, device=pixels.device)[:, None, None]
    std = torch.tensor(spec.std, dtype=torch.float32, device=pixels.device)[:, None, None]
    return pixels.to(torch.float32).div_(255.0).sub_(mean).div_(std)


class TrainingSet:
    """The rows of a pair set whose images decoded, ready for a student (and for live teachers)."""

    def __init__(
        self,
        pairs: PairSet,
        decoded: DecodedImages,
        student: Preprocessor,
        augmentation: Augmentation,
        seed: int,
        teachers: Sequence[ImagePreprocessor | TextPreprocessor] = (),
    ) -> None:
        self.pairs = pairs
        self.decoded = decoded
        self.student = student
        self.teachers = tuple(teachers)
        self.augmentation = augmentation
        self.seed = seed
        all_rows = pairs.rows
        self.rows: list[Row] = [all_rows[row] for row in decoded.kept]
        self._first_caption = np.cumsum([0] + [len(row.captions) for row in self.rows])
        self._tokens = _tokenize(self.rows, student)
        self._teacher_tokens = [
            _tokenize(self.rows, teacher) if isinstance(teacher, TextPreprocessor) else None
            for teacher in self.teachers
        ]
        self._teacher_specs = [
            teacher.image if isinstance(teacher, ImagePreprocessor) else None for teacher in self.teachers
        ]
        self._plain: dict[ImageSpec, _PlainPixels] = {}
        for spec in (student.image, *self._teacher_specs):
            if spec is not None and spec not in self._plain:
                left = PLAIN_BYTES - sum(kept.bytes for kept in self._plain.values())
                self._plain[spec] = _PlainPixels(decoded, spec, left)

    def __len__(self) -> int:
        return len(self.rows)

    def number_of(self, teacher: ImagePreprocessor | TextPreprocessor) -> int | None:
        """Place of a teacher's inputs in `Batch.teachers`; None where none are prepared for it."""
        prepared = [each.fingerprint for each in self.teachers]
        return prepared.index(teacher.fingerprint) if teacher.fingerprint in prepared else None

    def same_tokens(self, number: int) -> bool:
        """True when a teacher reads every caption as the very tokens that the student reads."""
        tokens = self._teacher_tokens[number]
        return tokens is not None and np.array_equal(self._tokens, tokens)

    def digest(self, i: int) -> str:
        """Content key of row i's decoded pixels."""
        return self.decoded.digest(i)

    def view_of(self, epoch: int) -> int:
        """The view that an epoch shows: 0 when no augmentation is active, otherwise cycled over `views`."""
        if not self.augmentation.active:
            return 0
        views = self.augmentation.views
        return epoch if views is None else epoch % views

    def sample_caption(self, i: int, epoch: int) -> int:
        """Number of the caption that row i shows in an epoch, -1 = it has none. Pure in (seed, id, epoch)."""
        count = len(self.rows[i].captions)
        return keyed_integer("caption", self.seed, self.rows[i].id, epoch) % count if count else -1

    def view_pixels(self, i: int, view: int, spec: ImageSpec) -> Tensor:
        """Row i in view `view` with the geometry of `spec`: (3, size, size) uint8, the caller's to keep."""
        parameters = self._view(i, view)
        if parameters is not None and parameters.crop is not None:
            return apply_view(self.decoded[i], parameters, spec)
        kept = self._plain.get(spec)
        plain = plain_pixels(self.decoded[i], spec) if kept is None else kept.rows(np.asarray([i]))[0]
        return plain if parameters is None else finish_view(plain, parameters)

    def batch(self, indices: Sequence[int] | NDArray[np.int64], epoch: int) -> Batch:
        """The batch of these rows in an epoch: the same whoever asks, and in whichever order."""
        index = np.asarray(indices, dtype=np.int64)
        view = self.view_of(epoch)
        caption = np.asarray([self.sample_caption(i, epoch) for i in index.tolist()], dtype=np.int64)
        # Row -1 of the tokens is padding.
        token_row = np.where(caption < 0, -1, self._first_caption[index] + caption)
        pixels = {spec: self._pixels(index, view, spec) for spec in self._plain}
        teachers = tuple(
            TeacherInputs(
                None if spec is None else pixels[spec],
                None if tokens is None else torch.from_numpy(tokens[token_row].astype(np.int64)),
            )
            for spec, tokens in zip(self._teacher_specs, self._teacher_tokens, strict=True)
        )
        return Batch(
            index=torch.from_numpy(index),
            caption=torch.from_numpy(caption),
            view=view,
            pixels=pixels[self.student.image],
            input_ids=torch.from_numpy(self._tokens[token_row].astype(np.int64)),
            has_caption=torch.from_numpy(caption >= 0),
            teachers=teachers,
        )

    def _view(self, i: int, view: int) -> View | None:
        if not self.augmentation.active:
            return None
        return view_parameters(self.augmentation, self.seed, self.rows[i].id, view)

    def _pixels(self, index: NDArray[np.int64], view: int, spec: ImageSpec) -> Tensor:
        """(B, 3, size, size) uint8, equal to `view_pixels` row by row."""
        kept = self._plain.get(spec)
        config = self.augmentation
        if kept is None or config.crop_scale is not None or config.colour > 0:
            return torch.stack([self.view_pixels(i, view, spec) for i in index.tolist()])
        pixels = kept.rows(index)
        if config.horizontal_flip > 0:
            for k, i in enumerate(index.tolist()):
                if view_parameters(config, self.seed, self.rows[i].id, view).flip:
                    pixels[k] = pixels[k].flip(-1)
        return pixels


class _PlainPixels:
    """Pixels in plain geometry, computed at first use and kept when all of them fit into `budget` bytes."""

    def __init__(self, decoded: DecodedImages, spec: ImageSpec, budget: int) -> None:
        self.spec = spec
        self._decoded = decoded
        shape = (len(decoded), 3, spec.size, spec.size)
        needed = int(np.prod(shape, dtype=np.int64))
        self.bytes = needed if needed < budget else 0
        self._pixels: NDArray[np.uint8] | None = np.empty(shape, dtype=np.uint8) if self.bytes else None
        self._there = np.zeros(len(decoded), dtype=bool)

    def rows(self, index: NDArray[np.int64]) -> Tensor:
        """(B, 3, size, size) uint8, a copy. Threads may race: they write the same bytes, then mark them."""
        if self._pixels is None:
            return torch.stack([plain_pixels(self._decoded[i], self.spec) for i in index.tolist()])
        for i in index[~self._there[index]].tolist():
            self._pixels[i] = plain_pixels(self._decoded[i], self.spec).numpy()
            self._there[i] = True
        return torch.from_numpy(self._pixels[index])


def _tokenize(rows: Sequence[Row], preprocessor: TextPreprocessor, chunk: int = 8192) -> NDArray[np.int32]:
    """All captions in order and one row of padding at the end: (captions + 1, L)."""
    captions = [caption for row in rows for caption in row.captions]
    length = preprocessor.text.context_length
    tokens = np.full((len(captions) + 1, length), preprocessor.text.pad_id, dtype=np.int32)
    for start in range(0, len(captions), chunk):
        part = captions[start : start + chunk]
        tokens[start : start + len(part)] = preprocessor.texts(part)
    return tokens


class BatchStream:
    """An endless iterator of (step, epoch, Batch) that gives the same batches however it is started or split.

    The order of an epoch is a permutation by (seed, epoch); its last incomplete batch is dropped. Of every
    global batch each rank gets its contiguous slice. `workers` threads prepare batches ahead (0: in the
    caller's); an error in one is raised, as it is, by the `next` that would have returned its batch. Use as a
    context manager, or call `close`.
    """

    def __init__(
        self,
        training_set: TrainingSet,
        batch_size: int,
        seed: int,
        workers: int = 1,
        rank: int = 0,
        world: int = 1,
        start_step: int = 0,
    ) -> None:
        """`batch_size` is global, over all ranks.

        Raises:
            DataError: the training set is smaller than one batch, or the batch cannot be shared by the
            processes.
        """
        if len(training_set) < batch_size:
            raise DataError(
                f"the training set has {len(training_set)} usable rows, fewer than one batch of "
                f"{batch_size}; lower batch_size or add data"
            )
        if batch_size % world:
            raise DataError(
                f"a batch of {batch_size} cannot be shared by {world} processes; use a multiple of {world}"
            )
        self.steps_per_epoch = len(training_set) // batch_size
        self._set = training_set
        self._batch_size = batch_size
        self._seed = seed
        self._share = slice(rank * batch_size // world, (rank + 1) * batch_size // world)
        self._step = start_step
        self._closed = False
        self._order = lru_cache(maxsize=4)(self._permutation)
        self._lookahead = 2 * workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="batches") if workers else None
        self._ahead: deque[Future[tuple[int, int, Batch]]] = deque()

    def __iter__(self) -> Iterator[tuple[int, int, Batch]]:
        return self

    def __next__(self) -> tuple[int, int, Batch]:
        if self._closed:
            raise StopIteration
        try:
            if self._pool is None:
                result = self._prepare(self._step)
            else:
                while len(self._ahead) < self._lookahead:
                    self._ahead.append(self._pool.submit(self._prepare, self._step + len(self._ahead)))
                result = self._ahead.popleft().result()
        except BaseException:
            self.close()
            raise
        self._step += 1
        return result

    def close(self) -> None:
        """Drop what was prepared ahead and join the threads. May be called twice."""
        self._closed = True
        self._ahead.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> BatchStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self, step: int) -> tuple[int, int, Batch]:
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self._batch_size
        indices = self._order(epoch)[start : start + self._batch_size][self._share]
        return step, epoch, self._set.batch(indices, epoch)

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        return keyed_permutation(len(self._set), "order", self._seed, epoch)
