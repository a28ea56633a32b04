"""What all losses look at: the embeddings of one (global) batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    """

    student_image: Tensor
    student_text: Tensor
    teacher_image: Tensor | None
    teacher_text: Tensor | None
    sample: Tensor
    has_text: Tensor
    logit_scale: Tensor

    def __post_init__(self) -> None:
        size = len(self.student_image)
        for name in ("student_text", "teacher_image", "teacher_text", "sample", "has_text"):
            value = getattr(self, name)
            if value is not None and len(value) != size:
                raise ValueError(f"{name} has {len(value)} rows where student_image has {size}")
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
        chosen = torch.nonzero(self.has_text).squeeze(1)
        if len(chosen) == len(self.has_text):
            return self
        return replace(
            self,
            student_image=self.student_image[chosen],
            student_text=self.student_text[chosen],
            teacher_image=None if self.teacher_image is None else self.teacher_image[chosen],
            teacher_text=None if self.teacher_text is None else self.teacher_text[chosen],
            sample=self.sample[chosen],
            has_text=self.has_text[chosen],
        )
