"""The teacher's side of a batch behind one interface.

Read from a store, computed live, or given as embeddings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from compressor.capture import AttentionMap, Side
from compressor.data.loader import Batch, TrainingSet
from compressor.distill.alignment import Maps, WatchedLayers
from compressor.distill.store import TeacherStore
from compressor.distill.teacher_forward import FrozenTeacher, Precision
from compressor.errors import ModelError
from compressor.losses.ensemble import Member
from compressor.recipe.losses import AMADLoss
from compressor.students.encoder import Model
from compressor.teachers.unimodal import AnyTeacher

if TYPE_CHECKING:
    from compressor.teachers.embeddings import StoredEmbeddings


@dataclass(frozen=True)
class TeacherRows:
    """What a teacher says about the B rows of a batch, on the device that was asked for.

    Attributes:
        image: (B, D) unit rows, fp32; None for a unimodal teacher.
        text: (B, D) unit rows, fp32, zeros for a row without a caption; None for a unimodal teacher.
        representation: (B, E), what a unimodal teacher says of the pair, of any length, fp32; zeros where a
            text teacher has no caption.
        attention: maps of the layers that a live teacher was asked for, by where they are.
    """

    image: Tensor | None
    text: Tensor | None
    representation: Tensor | None = None
    attention: Maps = field(default_factory=dict)


class Signals(Protocol):
    """What a teacher says about a batch.

    `dim` is its width, `fingerprint` its identity, `members` whose rows stand side by side in an ensemble's.
    """

    dim: int
    fingerprint: str
    members: tuple[Member, ...]

    def to(self, device: torch.device) -> Self:
        """Rows come back on this device from now on."""
        ...

    def prepare(self, views: Sequence[int]) -> None:
        """Make ready for these augmentation views; raises one sentence when one cannot be served."""
        ...

    def for_batch(self, batch: Batch) -> TeacherRows:
        """The teacher's side of these rows."""
        ...

    def close(self) -> None:
        """Leave the teacher as it was."""
        ...


def prepared_number(teacher: AnyTeacher, training_set: TrainingSet) -> int:
    """Place of a live teacher's inputs in every batch. Raises `ModelError` where none are prepared."""
    number = training_set.number_of(teacher.preprocessor)
    if number is None:
        raise ModelError(
            f"the training set does not prepare images and texts for the live teacher '{teacher.name}'"
        )
    return number


class LiveSignals:
    """Runs the teacher on every batch, on its own pixels and tokens of the same view and caption.

    With `amad` it also hands over the attention maps of the layers that the loss names.
    """

    members: tuple[Member, ...] = ()

    def __init__(
        self,
        teacher: Model,
        training_set: TrainingSet,
        device: torch.device | None = None,
        batch_size: int | None = None,
        precision: Precision = "no",
        amad: AMADLoss | None = None,
    ) -> None:
        """Raises `ModelError`.

        When the training set does not prepare inputs for this teacher; with `amad` on texts also when these
        are not the student's tokens, and for layers that the teacher does not have.
        """
        self._number = prepared_number(teacher, training_set)
        self.dim = int(teacher.encoder.embed_dim)
        self.fingerprint = teacher.fingerprint
        if amad is not None and amad.text is not None and not training_set.same_tokens(self._number):
            raise ModelError(
                "amad compares texts token by token, and the student's tokens are not the teacher's: give "
                "the student the teacher's tokenizer and context_length, or set amad's text: null"
            )
        self._layers = None if amad is None else WatchedLayers(teacher.encoder, amad, of_teacher=True)
        self._teacher = FrozenTeacher(teacher, device or torch.device("cpu"), batch_size, precision)

    def to(self, device: torch.device) -> LiveSignals:
        self._teacher.to(device)
        return self

    def prepare(self, views: Sequence[int]) -> None:
        """Nothing to do: any view can be computed."""

    def for_batch(self, batch: Batch) -> TeacherRows:
        inputs = batch.teachers[self._number]
        assert inputs.pixels is not None  # prepared for a teacher of both modalities
        assert inputs.input_ids is not None
        maps: dict[str, list[AttentionMap]] = defaultdict(list)
        image = self._teacher.images(inputs.pixels, partial(self._collect, "image", maps))
        text = self._teacher.texts(inputs.input_ids, partial(self._collect, "text", maps))
        has_caption = batch.has_caption.to(text.device)
        return TeacherRows(
            F.normalize(image, dim=1),
            F.normalize(text, dim=1) * has_caption[:, None],
            attention={name: _joined(pieces) for name, pieces in maps.items()},
        )

    def close(self) -> None:
        """Stop watching the teacher's attention; no map comes back from now on."""
        if self._layers is not None:
            self._layers.detach()
            self._layers = None

    def _collect(self, side: Side, maps: dict[str, list[AttentionMap]]) -> None:
        """Take what one piece of a pass left."""
        if self._layers is not None:
            for name, found in self._layers.take(side).items():
                maps[name].append(found)


def _joined(pieces: Sequence[AttentionMap]) -> AttentionMap:
    """The maps of all rows; a copy, because what was made in inference mode must not enter a graph.

    A piece of short texts may have been trimmed to fewer tokens: nobody attends to the others.
    """
    widest = max(piece.weights.shape[-1] for piece in pieces)
    weights = []
    for piece in pieces:
        missing = widest - piece.weights.shape[-1]
        weights.append(F.pad(piece.weights, (0, missing, 0, missing)) if missing else piece.weights)
    return replace(pieces[0], weights=torch.cat(weights))


class StoredSignals:
    """Reads the teacher's rows from a store."""

    members: tuple[Member, ...] = ()

    def __init__(self, store: TeacherStore, training_set: TrainingSet) -> None:
        self.dim = store.dim
        self.fingerprint = store.fingerprint
        self._store = store
        self._training_set = training_set
        self._device = torch.device("cpu")
        self._images: dict[int, np.ndarray] = {}
        self._texts = store.text_numbers(training_set)
        self._first_caption = first_captions(training_set)

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

    def for_batch(self, batch: Batch) -> TeacherRows:
        index = batch.index.numpy()
        captioned = batch.has_caption.numpy()
        image = self._store.images(self._numbers_of(batch.view)[index])
        text = np.zeros((len(index), self.dim), np.float16)
        which = self._first_caption[index[captioned]] + batch.caption.numpy()[captioned]
        text[captioned] = self._store.texts(self._texts[which])
        return TeacherRows(self._unit(image), self._unit(text))

    def close(self) -> None:
        """Nothing was changed."""

    def _unit(self, rows: np.ndarray) -> Tensor:
        return F.normalize(torch.from_numpy(rows).to(self._device).float(), dim=1)


def first_captions(training_set: TrainingSet) -> np.ndarray:
    """(N,) place of each row's first caption among the captions of all rows."""
    counts = [len(row.captions) for row in training_set.rows]
    return np.cumsum([0, *counts[:-1]])


class EmbeddingSignals:
    """Reads rows of a model that is not here, by image and caption id."""

    members: tuple[Member, ...] = ()

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

    def for_batch(self, batch: Batch) -> TeacherRows:
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
        return TeacherRows(self._unit(image), self._unit(text))

    def close(self) -> None:
        """Nothing was changed."""

    def _unit(self, rows: Tensor) -> Tensor:
        return F.normalize(rows.to(self._device).float(), dim=1)
