"""InfoNCE of the student against the teacher, with a queue of teacher embeddings (arXiv 2404.10838)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from compressor.losses.batch import EmbeddingBatch, Modality
from compressor.losses.pairs import check_temperature
from compressor.losses.queue import TeacherQueue
from compressor.losses.rows import full_precision, mean_over_rows, paired, unit_rows, without_autocast
from compressor.recipe.losses import ContrastiveLoss


def contrastive_loss(
    student: Tensor,
    teacher: Tensor,
    temperature: float = 0.05,
    negatives: Tensor | None = None,
    negative_mask: Tensor | None = None,
) -> Tensor:
    """InfoNCE of each student row against the teacher's row of the same sample.

    With s, T the rows scaled to unit length and N(i) the negatives of row i:

        mean_i  -log( exp(s_i·T_i / τ) / (exp(s_i·T_i / τ) + sum_{n in N(i)} exp(s_i·n / τ)) )

    Without `negatives`, N(i) is every other teacher row of the batch. With them N(i) is exactly those rows
    that the mask leaves. A row without any negative contributes 0. Negatives of the row's own sample should
    be masked: with a frozen teacher a queue brings the positive back as a negative, and a student that equals
    its teacher would then score at least log 2 = 0.693 instead of nearly 0.

    Args:
        student: (B, D), any floating dtype and any length of rows; cosines are compared.
        teacher: (B, D), row i belongs to the same sample as row i of `student`. Gradients flow into it
            if it asks.
        temperature: τ, above 0; 0.05 in arXiv 2404.10838.
        negatives: (K, D) teacher embeddings, K may be 0.
        negative_mask: bool, true where an entry must not count; (B, K), or (B, B) without `negatives`, where
            the diagonal is the positive and always counts.

    Returns:
        Scalar, float32 (float64 if an input is float64), computed outside autocast. No rows give 0.

    Raises:
        ValueError: for shapes that do not fit or a temperature that is not positive.
    """
    check_temperature(temperature)
    with without_autocast(student):
        if negatives is None:
            student, teacher = paired(student, teacher)
            return diagonal_cross_entropy(
                unit_rows(student) / temperature @ unit_rows(teacher).T, negative_mask
            )
        if negatives.ndim != 2 or negatives.shape[1] != student.shape[-1]:
            raise ValueError(
                f"negatives must have the shape (K, {student.shape[-1]}), got {tuple(negatives.shape)}"
            )
        student, teacher, negatives = full_precision(student, teacher, negatives)
        student, teacher = paired(student, teacher)
        return info_nce(
            unit_rows(student), unit_rows(teacher), unit_rows(negatives), temperature, negative_mask
        )


def diagonal_cross_entropy(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Mean cross-entropy of the rows of (B, B) logits, the diagonal is the label and is never masked."""
    if mask is not None:
        own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        logits = logits.masked_fill(_checked(mask, logits) & ~own, -torch.inf)
    targets = torch.arange(len(logits), device=logits.device)
    return mean_over_rows(F.cross_entropy(logits, targets, reduction="none"))


def info_nce(
    query: Tensor, positive: Tensor, negatives: Tensor, temperature: float, mask: Tensor | None
) -> Tensor:
    """InfoNCE of unit rows, their positives (B, D) and the negatives (K, D) that the mask (B, K) leaves."""
    query = query / temperature  # on (B, D), which is far smaller than the (B, K) logits
    against = query @ negatives.T
    if mask is not None:
        against.masked_fill_(_checked(mask, against), -torch.inf)
    logits = torch.cat([(query * positive).sum(dim=1, keepdim=True), against], dim=1)
    first = torch.zeros(len(query), dtype=torch.long, device=query.device)
    return mean_over_rows(F.cross_entropy(logits, first, reduction="none"))


def _checked(mask: Tensor, logits: Tensor) -> Tensor:
    if mask.shape != logits.shape:
        raise ValueError(f"negative_mask must have the shape {tuple(logits.shape)}, got {tuple(mask.shape)}")
    return mask.to(device=logits.device, dtype=torch.bool)


def contrastive_over_batch(
    batch: EmbeddingBatch, captioned: EmbeddingBatch, config: ContrastiveLoss, queue: TeacherQueue | None
) -> Tensor:
    """Sum of the InfoNCE terms that `config.pairs` names: v→V and t→T (intra), v→T and t→V (cross).

    The negatives of a term are the other teacher rows of the batch (`batch_negatives`) followed by the queue,
    in the modality of the positive. Entries of the row's own sample, unused places of the queue and texts
    that are not there never count. v→V is the mean over all rows, the other terms over rows with a caption.

    Args:
        batch: all rows, unit length, students already in the teacher's width.
        captioned: the rows of `batch` that have a caption.
        config: temperature, pairs, sources of negatives.
        queue: earlier teacher embeddings, None for no queue.
    """
    images, texts = _Negatives(batch, config, queue, "image"), _Negatives(batch, config, queue, "text")
    terms = []
    if config.pairs in ("intra", "both"):
        terms.append(images.loss(batch.student_image, batch.teacher("image"), batch.sample))
        terms.append(texts.loss(captioned.student_text, captioned.teacher("text"), captioned.sample))
    if config.pairs in ("cross", "both"):
        terms.append(texts.loss(captioned.student_image, captioned.teacher("text"), captioned.sample))
        terms.append(images.loss(captioned.student_text, captioned.teacher("image"), captioned.sample))
    return torch.stack(terms).sum()


class _Negatives:
    """Teacher rows of one modality that can stand against a student row, with the sample each belongs to."""

    def __init__(
        self, batch: EmbeddingBatch, config: ContrastiveLoss, queue: TeacherQueue | None, modality: Modality
    ) -> None:
        target = batch.teacher(modality)
        rows, samples, usable = [target[:0]], [batch.sample[:0]], [batch.has_text[:0]]
        if config.batch_negatives:
            rows.append(target)
            samples.append(batch.sample)
            usable.append(batch.has_text if modality == "text" else torch.ones_like(batch.has_text))
        if queue is not None:
            rows.append((queue.text if modality == "text" else queue.image).to(target.dtype))
            samples.append(queue.sample)
            usable.append(queue.usable(modality))
        self.rows, self.sample, self.usable = torch.cat(rows), torch.cat(samples), torch.cat(usable)
        self.temperature = config.temperature

    def loss(self, query: Tensor, positive: Tensor, sample: Tensor) -> Tensor:
        mask = (sample[:, None] == self.sample[None, :]) | ~self.usable[None, :]
        return info_nce(query, positive, self.rows, self.temperature, mask)
