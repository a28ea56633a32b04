"""The signals of several teachers as those of one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from compressor.data.loader import Batch
from compressor.distill.signals import Signals, TeacherRows
from compressor.files import hash_json
from compressor.losses.ensemble import join_rows, members_of


class EnsembleSignals:
    """The members' unit rows side by side, each scaled by the root of its share of the weights.

    A cosine of two such rows is the weighted mean of the members' cosines. The members may be live, stored or
    given as embeddings, one like this and another like that.
    """

    def __init__(self, teachers: Sequence[Signals], weights: Sequence[float] | None = None) -> None:
        """`weights` count relative to each other; None makes them equal."""
        self.members = members_of([teacher.dim for teacher in teachers], weights)
        self.dim = sum(member.width for member in self.members)
        shares = [member.weight for member in self.members]
        self.fingerprint = hash_json(["ensemble", [teacher.fingerprint for teacher in teachers], shares])
        self._teachers = list(teachers)

    def to(self, device: torch.device) -> EnsembleSignals:
        self._teachers = [teacher.to(device) for teacher in self._teachers]
        return self

    def prepare(self, views: Sequence[int]) -> None:
        for teacher in self._teachers:
            teacher.prepare(views)

    def for_batch(self, batch: Batch) -> TeacherRows:
        images: list[Tensor] = []
        texts: list[Tensor] = []
        for teacher in self._teachers:
            rows = teacher.for_batch(batch)
            assert rows.image is not None  # members embed pairs, the recipe says
            assert rows.text is not None
            images.append(rows.image)
            texts.append(rows.text)
        return TeacherRows(join_rows(images, self.members), join_rows(texts, self.members))

    def close(self) -> None:
        for teacher in self._teachers:
            teacher.close()
