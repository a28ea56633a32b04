"""A first-in-first-out memory of teacher embeddings: negatives beyond the batch (MoCo, arXiv 1911.05722)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compressor.losses.batch import Modality
from compressor.losses.rows import unit_rows


class TeacherQueue(nn.Module):
    """The last `size` teacher embeddings with the sample each belongs to.

    Everything is a registered buffer, so a checkpoint resumes with the very same negatives: `image` and
    `text` float32 (size, dim), `sample` int64 (size,), `has_text` bool (size,), `pointer` (where the next row
    goes) and `filled` (how many rows hold something), int64 scalars. Writing needs no transfer from the
    accelerator.
    """

    image: Tensor
    text: Tensor
    sample: Tensor
    has_text: Tensor
    pointer: Tensor
    filled: Tensor

    def __init__(self, size: int, dim: int) -> None:
        """Args: size: places, at least 1; dim: width of the teacher's embeddings."""
        super().__init__()
        if size < 1:
            raise ValueError(f"a queue needs at least one place, got {size}")
        self.size = size
        self.register_buffer("image", torch.zeros(size, dim))
        self.register_buffer("text", torch.zeros(size, dim))
        self.register_buffer("sample", torch.full((size,), -1, dtype=torch.long))
        self.register_buffer("has_text", torch.zeros(size, dtype=torch.bool))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, image: Tensor, text: Tensor, sample: Tensor, has_text: Tensor) -> None:
        """Write a batch over the oldest rows; of a batch longer than the queue the last `size` rows stay.

        Args:
            image: (B, dim) teacher embeddings; stored as unit rows.
            text: (B, dim), anything where there is no caption.
            sample: int64 (B,).
            has_text: bool (B,).
        """
        count = len(image)
        kept = slice(max(0, count - self.size), count)
        offsets = torch.arange(count, device=self.pointer.device)[kept]
        places = (self.pointer + offsets) % self.size
        self.image[places] = unit_rows(image[kept].to(self.image))
        captioned = has_text[kept].to(self.has_text)
        self.text[places] = unit_rows(text[kept].to(self.text)).masked_fill(~captioned[:, None], 0)
        self.sample[places] = sample[kept].to(self.sample)
        self.has_text[places] = captioned
        self.pointer.copy_((self.pointer + count) % self.size)
        self.filled.copy_((self.filled + count).clamp(max=self.size))

    def usable(self, modality: Modality) -> Tensor:
        """bool (size,): places that hold an embedding of this modality."""
        held = torch.arange(self.size, device=self.filled.device) < self.filled
        return held & self.has_text if modality == "text" else held
