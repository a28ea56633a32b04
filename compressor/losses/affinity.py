"""The student's image-text similarities shall rank as the teacher's (TinyCLIP, CLIP-KD's relations)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from compressor.losses.pairs import both_sides, check_temperature, hidden_entries
from compressor.losses.rows import full_precision, mean_over_rows, paired, unit_rows, without_autocast

Divergence = Literal["kl", "cross_entropy"]


def affinity_loss(
    student_image: Tensor,
    student_text: Tensor,
    teacher_image: Tensor,
    teacher_text: Tensor,
    temperature: float = 0.05,
    teacher_temperature: float | None = None,
    divergence: Divergence = "kl",
    mask: Tensor | None = None,
) -> Tensor:
    """Divergence of the student's softmax over each row and column of similarities from the teacher's.

    With the rows scaled to unit length, P = softmax(V Tᵀ / τ_T) of the teacher and Q = softmax(v tᵀ / τ) of
    the student, over texts for each image and over images for each text:

        kl:             mean_i sum_j P_ij · (log P_ij − log Q_ij)
        cross_entropy:  mean_i sum_j −P_ij · log Q_ij

    each averaged over the two directions. The two differ by the teacher's entropy, so a student receives the
    same gradient; `kl` is 0 at equality, `cross_entropy` is not. TinyCLIP (arXiv 2309.12314) minimises the
    cross-entropy, CLIP-KD's contrastive relational distillation (arXiv 2307.12732) the divergence.

    Args:
        student_image: (B, D), any floating dtype and any length of rows; cosines are compared.
        student_text: (B, D), row i describes image i.
        teacher_image: (B, E); E may differ from D. Gradients flow into the teacher if it asks.
        teacher_text: (B, E).
        temperature: τ, above 0.
        teacher_temperature: τ_T, the student's where None.
        divergence: `kl` or `cross_entropy`.
        mask: bool (B, B), true where image i and text j must not count (another caption of the same image);
            such entries have the probability 0 on both sides. The diagonal always counts.

    Returns:
        Scalar of at least 0, float32 (float64 if an input is float64). One row or none gives 0.

    Raises:
        ValueError: for shapes that do not fit, a temperature that is not positive or an unknown divergence.
    """
    _check(divergence)
    teachers_own = temperature if teacher_temperature is None else teacher_temperature
    check_temperature(temperature, teachers_own)
    with without_autocast(student_image):
        v, t, V, T = map(unit_rows, both_sides(student_image, student_text, teacher_image, teacher_text))
        student = v / temperature @ t.T
        teacher = V / teachers_own @ T.T
        hidden = hidden_entries(mask, v)
        return _mimicry(
            student,
            _log_softmax(teacher, hidden, dim=1),
            _log_softmax(teacher, hidden, dim=0),
            divergence,
            hidden,
        )


def affinity_to_distributions(
    student_image: Tensor,
    student_text: Tensor,
    image_to_text: Tensor,
    text_to_image: Tensor,
    temperature: float = 0.05,
    divergence: Divergence = "kl",
    mask: Tensor | None = None,
) -> Tensor:
    """affinity_loss against probabilities given as such: an ensemble of teachers averages its distributions.

    Args:
        student_image: (B, D), any floating dtype and any length of rows.
        student_text: (B, D), row i describes image i.
        image_to_text: (B, B), row i the teacher's distribution over the texts for image i; rows sum to 1.
        text_to_image: (B, B), row j the teacher's distribution over the images for text j; rows sum to 1.
        temperature: the student's, above 0.
        divergence: `kl` or `cross_entropy`.
        mask: bool (B, B), true where image i and text j must not count; what the given rows hold there is
            dropped and the rest scaled back to the sum 1. The diagonal always counts.

    Returns:
        Scalar of at least 0, float32 (float64 if an input is float64). One row or none gives 0.

    Raises:
        ValueError: for shapes that do not fit, a temperature that is not positive or an unknown divergence.
    """
    _check(divergence)
    check_temperature(temperature)
    with without_autocast(student_image):
        paired(student_image, student_text)
        v, t, rows, columns = full_precision(student_image, student_text, image_to_text, text_to_image.T)
        student = unit_rows(v) / temperature @ unit_rows(t).T
        for name, given in (("image_to_text", rows), ("text_to_image", columns)):
            if given.shape != student.shape:
                raise ValueError(
                    f"{name} must have the shape {tuple(student.shape)}, got {tuple(given.shape)}"
                )
        hidden = hidden_entries(mask, v)
        return _mimicry(
            student,
            _log_of(rows, hidden, dim=1),
            _log_of(columns, hidden, dim=0),
            divergence,
            hidden,
        )


def _mimicry(
    student: Tensor,
    image_to_text: Tensor,
    text_to_image: Tensor,
    divergence: Divergence,
    hidden: Tensor | None,
) -> Tensor:
    """Mean over the two directions; all matrices are (images, texts), the teacher's hold log-probabilities.

    Hidden entries hold 0 on both sides, log-probability and all, and so add nothing to either divergence.
    """
    terms = []
    for dim, teacher in ((1, image_to_text), (0, text_to_image)):
        own = _log_softmax(student, hidden, dim)
        compared = teacher - own if divergence == "kl" else -own
        # Rounding may take a divergence below 0, where a balancer that divides by it must never see it.
        terms.append(mean_over_rows((teacher.exp() * compared).sum(dim).clamp(min=0)))
    return (terms[0] + terms[1]) / 2


def _log_softmax(logits: Tensor, hidden: Tensor | None, dim: int) -> Tensor:
    if hidden is None:
        return logits.log_softmax(dim)
    return logits.masked_fill(hidden, -torch.inf).log_softmax(dim).masked_fill(hidden, 0)


def _log_of(probabilities: Tensor, hidden: Tensor | None, dim: int) -> Tensor:
    smallest = torch.finfo(probabilities.dtype).tiny  # stands for 0, whose logarithm would be infinite
    if hidden is None:
        return probabilities.clamp(min=smallest).log()
    kept = probabilities.masked_fill(hidden, 0)
    kept = kept / kept.sum(dim, keepdim=True).clamp(min=smallest)
    return kept.clamp(min=smallest).log().masked_fill(hidden, 0)


def _check(divergence: str) -> None:
    if divergence not in ("kl", "cross_entropy"):
        raise ValueError(f"divergence must be 'kl' or 'cross_entropy', got {divergence!r}")
