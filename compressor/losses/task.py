"""CLIP's own loss on the labels, without a teacher (arXiv 2103.00020, figure 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from compressor.losses.batch import EmbeddingBatch
from compressor.losses.contrastive import diagonal_cross_entropy
from compressor.losses.rows import paired, unit_rows, without_autocast


def task_loss(
    image: Tensor, text: Tensor, logit_scale: Tensor | float, negative_mask: Tensor | None = None
) -> Tensor:
    """Symmetric cross-entropy: image i must pick text i among the texts, and text i image i among the images.

    With L_ij = scale · cos(v_i, t_j): the mean of the cross-entropies of the rows of L and of its columns,
    each with the diagonal as the label and averaged over the batch.

    Args:
        image: (B, D), any floating dtype and any length of rows.
        text: (B, D), row i describes image i.
        logit_scale: the student's learned scale, already exponentiated; gradients flow into it.
        negative_mask: bool (B, B), true where text j must not count against image i nor image i against text
            j (the same picture twice in a batch); the diagonal always counts.

    Returns:
        Scalar, float32 (float64 if an input is float64). One row or none gives 0.

    Raises:
        ValueError: for shapes that differ.
    """
    with without_autocast(image):
        image, text = paired(image, text)
        image, text = unit_rows(image), unit_rows(text)
        scaled = image * torch.as_tensor(logit_scale, dtype=image.dtype, device=image.device)
        transposed = None if negative_mask is None else negative_mask.T
        logits = scaled @ text.T
        return (
            diagonal_cross_entropy(logits, negative_mask) + diagonal_cross_entropy(logits.T, transposed)
        ) / 2


def task_over_batch(captioned: EmbeddingBatch) -> Tensor:
    """task_loss of the rows with a caption; rows of the same sample are not negatives of each other."""
    same = captioned.sample[:, None] == captioned.sample[None, :]
    return task_loss(captioned.student_image, captioned.student_text, captioned.logit_scale, same)
