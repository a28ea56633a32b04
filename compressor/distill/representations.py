"""The signals of a teacher of one modality: its representation of each pair, stored or computed live."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from compressor.data.loader import Batch, TrainingSet
from compressor.distill.signals import TeacherRows, first_captions, prepared_number
from compressor.distill.store import TeacherStore
from compressor.distill.teacher_forward import FrozenTeacher, Precision
from compressor.losses.ensemble import Member
from compressor.preprocess.preprocessor import ImagePreprocessor
from compressor.teachers.unimodal import UnimodalModel


class LiveRepresentations:
    """Runs the teacher on every batch: on its own pixels, or on its own tokens of the caption drawn."""

    members: tuple[Member, ...] = ()

    def __init__(
        self,
        teacher: UnimodalModel,
        training_set: TrainingSet,
        device: torch.device | None = None,
        batch_size: int | None = None,
        precision: Precision = "no",
    ) -> None:
        """Raises `ModelError` where the training set does not prepare inputs for this teacher."""
        self._number = prepared_number(teacher, training_set)
        self.dim = teacher.encoder.embed_dim
        self.fingerprint = teacher.fingerprint
        self._teacher = FrozenTeacher(teacher, device or torch.device("cpu"), batch_size, precision)

    def to(self, device: torch.device) -> LiveRepresentations:
        self._teacher.to(device)
        return self

    def prepare(self, views: Sequence[int]) -> None:
        """Nothing to do: any view can be computed."""

    def for_batch(self, batch: Batch) -> TeacherRows:
        inputs = batch.teachers[self._number]
        if inputs.pixels is not None:
            return TeacherRows(None, None, representation=self._teacher.images(inputs.pixels))
        assert inputs.input_ids is not None  # a teacher looks at one of the two
        rows = self._teacher.texts(inputs.input_ids)
        return TeacherRows(None, None, representation=rows * batch.has_caption.to(rows.device)[:, None])

    def close(self) -> None:
        """Nothing was changed."""


class StoredRepresentations:
    """Reads the teacher's representations of views or captions from a store."""

    members: tuple[Member, ...] = ()

    def __init__(self, store: TeacherStore, teacher: UnimodalModel, training_set: TrainingSet) -> None:
        """Raises `MissingResourceError` for a caption that a text teacher's store lacks."""
        self.dim = store.dim
        self.fingerprint = store.fingerprint
        self._store = store
        self._training_set = training_set
        self._device = torch.device("cpu")
        self._sees = isinstance(teacher.preprocessor, ImagePreprocessor)
        self._images: dict[int, np.ndarray] = {}
        self._first_caption = first_captions(training_set)
        self._texts = np.empty(0, np.int64) if self._sees else store.text_numbers(training_set)

    def to(self, device: torch.device) -> StoredRepresentations:
        self._device = device
        return self

    def prepare(self, views: Sequence[int]) -> None:
        """Find the views of an image teacher; a text teacher has none."""
        for view in views if self._sees else ():
            self._numbers_of(view)

    def _numbers_of(self, view: int) -> np.ndarray:
        if view not in self._images:
            self._images[view] = self._store.image_numbers(self._training_set, view)
        return self._images[view]

    def for_batch(self, batch: Batch) -> TeacherRows:
        index = batch.index.numpy()
        if self._sees:
            return self._rows(self._store.images(self._numbers_of(batch.view)[index]))
        captioned = batch.has_caption.numpy()
        rows = np.zeros((len(index), self.dim), np.float16)
        which = self._first_caption[index[captioned]] + batch.caption.numpy()[captioned]
        rows[captioned] = self._store.texts(self._texts[which])
        return self._rows(rows)

    def close(self) -> None:
        """Nothing was changed."""

    def _rows(self, rows: np.ndarray) -> TeacherRows:
        representation: Tensor = torch.from_numpy(rows).to(self._device).float()
        return TeacherRows(None, None, representation=representation)
