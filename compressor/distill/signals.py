"""The teacher's side of a batch behind one interface.

Read from a store, computed live, or given as embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from compressor.data.loader import Batch, TrainingSet
from compressor.distill.store import TeacherStore
from compressor.distill.teacher_forward import FrozenTeacher, Precision
from compressor.errors import ModelError
from compressor.students.encoder import Model

if TYPE_CHECKING:
    from compressor.teachers.embeddings import StoredEmbeddings


class Signals(Protocol):
    """What a teacher says about a batch. `dim` is its width, `fingerprint` its identity."""

    dim: int
    fingerprint: str

    def to(self, device: torch.device) -> Self:
        """Rows come back on this device from now on."""
        ...

    def prepare(self, views: Sequence[int]) -> None:
        """Make ready for these augmentation views; raises one sentence when one cannot be served."""
        ...

    def for_batch(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, D) image and text rows, L2-normalised fp32; zeros for the text of a row without a caption."""
        ...


class LiveSignals:
    """Runs the teacher on every batch, on its own pixels and tokens of the same view and caption."""

    def __init__(
        self,
        teacher: Model,
        training_set: TrainingSet,
        device: torch.device | None = None,
        batch_size: int | None = None,
        precision: Precision = "no",
    ) -> None:
        """Raises `ModelError` when the training set does not prepare inputs for this teacher."""
        prepared_for = training_set.teacher
        if prepared_for is None or prepared_for.fingerprint != teacher.preprocessor.fingerprint:
            raise ModelError(
                f"the training set does not prepare images and texts for the live teacher '{teacher.name}'"
            )
        self.dim = int(teacher.encoder.embed_dim)
        self.fingerprint = teacher.fingerprint
        self._options = (teacher, batch_size, precision)
        self._teacher = self._on(device or torch.device("cpu"))

    def _on(self, device: torch.device) -> FrozenTeacher:
        teacher, batch_size, precision = self._options
        return FrozenTeacher(teacher, device, batch_size, precision)

    def to(self, device: torch.device) -> LiveSignals:
        self._teacher = self._on(device)
        return self

    def prepare(self, views: Sequence[int]) -> None:
        """Nothing to do: any view can be computed."""

    def for_batch(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if batch.teacher_pixels is None or batch.teacher_input_ids is None:
            raise ModelError("the batch carries no inputs for the live teacher")
        image = self._teacher.images(batch.teacher_pixels)
        text = self._teacher.texts(batch.teacher_input_ids)
        has_caption = batch.has_caption.to(text.device)
        return F.normalize(image, dim=1), F.normalize(text, dim=1) * has_caption[:, None]


class StoredSignals:
    """Reads the teacher's rows from a store."""

    def __init__(self, store: TeacherStore, training_set: TrainingSet) -> None:
        self.dim = store.dim
        self.fingerprint = store.fingerprint
        self._store = store
        self._training_set = training_set
        self._device = torch.device("cpu")
        self._images: dict[int, np.ndarray] = {}
        self._texts = store.text_numbers(training_set)
        counts = [len(row.captions) for row in training_set.rows]
        self._first_caption = np.cumsum([0, *counts[:-1]])

    def to(self, device: torch.device) -> StoredSignals:
        self._device = device
        return self

    def prepare(self, views: Sequence[int]) -> None:
        for view in views:
            self._numbers_of(view)

    def _numbers_of(self, view: int) -> np.ndarray:
        if view not in self._images:
            self._images[view] = self._store.image_numbers(self._training_set, view)
        return self._images[view]

    def for_batch(self, batch: Batch) -> tuple[Tensor, Tensor]:
        index = batch.index.numpy()
        captioned = batch.has_caption.numpy()
        image = self._store.images(self._numbers_of(batch.view)[index])
        text = np.zeros((len(index), self.dim), np.float16)
        which = self._first_caption[index[captioned]] + batch.caption.numpy()[captioned]
        text[captioned] = self._store.texts(self._texts[which])
        return self._unit(image), self._unit(text)

    def _unit(self, rows: np.ndarray) -> Tensor:
        return F.normalize(torch.from_numpy(rows).to(self._device).float(), dim=1)


class EmbeddingSignals:
    """Reads rows of a model that is not here, by image and caption id."""

    def __init__(self, embeddings: StoredEmbeddings, training_set: TrainingSet) -> None:
        self.dim = embeddings.dim
        self.fingerprint = embeddings.fingerprint
        self._embeddings = embeddings
        self._rows = training_set.rows
        self._device = torch.device("cpu")

    def to(self, device: torch.device) -> EmbeddingSignals:
        self._device = device
        return self

    def prepare(self, views: Sequence[int]) -> None:
        """Nothing to do: the recipe allows only views under which the embeddings stay true."""

    def for_batch(self, batch: Batch) -> tuple[Tensor, Tensor]:
        rows = [self._rows[i] for i in batch.index.tolist()]
        image = torch.as_tensor(self._embeddings.image([row.id for row in rows]))
        text = torch.zeros(len(rows), self.dim)
        captioned = batch.has_caption.nonzero()[:, 0]
        if len(captioned):
            ids = [
                rows[i].caption_ids[c]
                for i, c in zip(captioned.tolist(), batch.caption[captioned].tolist(), strict=True)
            ]
            text[captioned] = torch.as_tensor(self._embeddings.text(ids))
        return self._unit(image), self._unit(text)

    def _unit(self, rows: Tensor) -> Tensor:
        return F.normalize(rows.to(self._device).float(), dim=1)
