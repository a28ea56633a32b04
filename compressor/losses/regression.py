"""One unimodal teacher: image and caption alike must lead to its representation of the pair."""

from __future__ import annotations

import torch
from torch import Tensor

from compressor.losses.feature import feature_loss
from compressor.losses.rows import full_precision, paired, unit_rows


def regression_loss(
    student_image: Tensor,
    student_text: Tensor,
    teacher: Tensor,
    normalize: bool = False,
    has_text: Tensor | None = None,
) -> Tensor:
    """Mean squared error of the shared block's output to one teacher, for images and for captions.

    With z the teacher's global representation of the pair, the mean of the two sides:

        (mean (v − z)² over all B·E elements + mean (t − z)² over the elements of rows with a caption) / 2

    Args:
        student_image: (B, E), the shared block's output for the image, any floating dtype.
        student_text: (B, E), its output for the caption.
        teacher: (B, E), from an image *or* a text encoder. Gradients flow into it if it asks.
        normalize: scale predictions and targets to unit length first.
        has_text: bool (B,), false where a row has no caption: what `student_text` holds there is never looked
            at, and the row counts on the image side alone. A batch without any caption scores half its image
            side.

    Returns:
        Scalar, float32 (float64 if an input is float64). No rows give 0.

    Raises:
        ValueError: for shapes that do not fit.
    """
    paired(student_image, teacher)
    paired(student_text, teacher)
    v, t, z = full_precision(student_image, student_text, teacher)
    own = z
    if has_text is not None:
        if has_text.shape != teacher.shape[:1]:
            raise ValueError(
                f"has_text must have the shape {tuple(teacher.shape[:1])}, got {tuple(has_text.shape)}"
            )
        captioned = has_text.to(device=t.device, dtype=torch.bool)
        t, own = t[captioned], z[captioned]
    if normalize:
        v, t, z, own = map(unit_rows, (v, t, z, own))
    return (feature_loss(v, z, "l2") + feature_loss(t, own, "l2")) / 2
