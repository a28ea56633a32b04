"""What all losses look at: the embeddings of one (global) batch."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor

Modality = Literal["image", "text"]


@dataclass(frozen=True)
class EmbeddingBatch:
    """Embeddings of one batch, one row an image and one of its captions.

    Attributes:
        student_image: (B, D) unit rows.
        student_text: (B, D) unit rows; a row without a caption holds anything, it is never looked at.
        teacher_image: (B, E) unit rows, None without a teacher.
        teacher_text: (B, E) unit rows, zeros where there is no caption; None without a teacher.
        sample: int64 (B,), the row of the training set; equal numbers are never each other's negatives.
        has_text: bool (B,), false where the row has no caption.
        logit_scale: scalar, the student's learned scale, already exponentiated.
        student_masked_image: (B, D) unit rows of the same images with patches masked, None where no loss asks
            for them.
        teacher_global: (B, E), a unimodal teacher's representation of each pair, of any length, zeros where
            it has none; None without such a teacher.
    """

    student_image: Tensor
    student_text: Tensor
    teacher_image: Tensor | None
    teacher_text: Tensor | None
    sample: Tensor
    has_text: Tensor
    logit_scale: Tensor
    student_masked_image: Tensor | None = None
    teacher_global: Tensor | None = None

    def __post_init__(self) -> None:
        size = len(self.student_image)
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and field.name != "logit_scale" and len(value) != size:
                raise ValueError(f"{field.name} has {len(value)} rows where student_image has {size}")
        if (self.teacher_image is None) != (self.teacher_text is None):
            raise ValueError("teacher_image and teacher_text must both be given or both be None")

    def teacher(self, modality: Modality) -> Tensor:
        """(B, E) teacher rows of one modality.

        Raises:
            ValueError: if the batch carries no teacher.
        """
        rows = self.teacher_image if modality == "image" else self.teacher_text
        if rows is None:
            raise ValueError("this loss needs teacher embeddings and the batch carries none")
        return rows

    def captioned(self) -> EmbeddingBatch:
        """The rows that have a caption."""
        return self._only(self.has_text)

    def represented(self) -> EmbeddingBatch:
        """The rows of which a unimodal teacher has a representation: all but rows of zeros."""
        return self if self.teacher_global is None else self._only(self.teacher_global.any(dim=1))

    def _only(self, rows: Tensor) -> EmbeddingBatch:
        """The rows where bool (B,) is true."""
        chosen = torch.nonzero(rows).squeeze(1)
        if len(chosen) == len(rows):
            return self
        return replace(
            self,
            student_image=self.student_image[chosen],
            student_text=self.student_text[chosen],
            teacher_image=_chosen(self.teacher_image, chosen),
            teacher_text=_chosen(self.teacher_text, chosen),
            sample=self.sample[chosen],
            has_text=self.has_text[chosen],
            student_masked_image=_chosen(self.student_masked_image, chosen),
            teacher_global=_chosen(self.teacher_global, chosen),
        )


def _chosen(rows: Tensor | None, chosen: Tensor) -> Tensor | None:
    return None if rows is None else rows[chosen]
