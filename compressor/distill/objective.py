"""From the student's rows and the teacher's to one number, over the batch of all processes."""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
from torch import Tensor

from compressor.data.loader import Batch
from compressor.distill.checkpoint import Checkpoints
from compressor.distill.gradcache import Embedded
from compressor.distill.signals import TeacherRows
from compressor.errors import DivergedError
from compressor.losses.batch import EmbeddingBatch
from compressor.losses.distributed import gather_batch


def joined_batch(student: Embedded, batch: Batch, teacher: TeacherRows | None) -> EmbeddingBatch:
    """The embeddings of all processes' rows; gradients flow back into this process's."""
    device = student.image.device
    local = EmbeddingBatch(
        student_image=student.image,
        student_text=student.text,
        teacher_image=None if teacher is None else teacher.image,
        teacher_text=None if teacher is None else teacher.text,
        sample=batch.index.to(device, non_blocking=True),
        has_text=batch.has_caption.to(device, non_blocking=True),
        logit_scale=student.logit_scale,
        student_masked_image=student.masked_image,
        teacher_global=None if teacher is None else teacher.representation,
    )
    return gather_batch(local)


def alignment_of_all(student: Embedded) -> Tensor | None:
    """How far the attention maps of all processes' rows are from the teacher's: the sum of the terms.

    Its gradient is this process's part times the number of processes: DistributedDataParallel takes the mean.
    None where no loss compares attention maps.
    """
    terms, weight = student.alignment, student.alignment_weight
    if terms is None or weight is None:
        return None
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return terms.sum()
    whole = torch.stack([terms.detach() * weight, weight])
    dist.all_reduce(whole)
    total = whole[1].clamp(min=1)
    own = terms * (dist.get_world_size() * weight / total)
    return (own + (whole[0] / total - own.detach())).sum()


def read_values(
    losses: dict[str, Tensor], total: Tensor, gradient_norm: Tensor
) -> tuple[dict[str, float], float, float]:
    """Losses, total and gradient norm as numbers, in a single transfer from the device."""
    stacked = torch.stack([*losses.values(), total, gradient_norm]).detach()
    *values, total_value, norm_value = stacked.tolist()
    return dict(zip(losses, values, strict=True)), total_value, norm_value


def refuse_divergence(
    step: int,
    losses: dict[str, float],
    total: float,
    gradient_norm: float | None,
    checkpoints: Checkpoints,
) -> None:
    """Raise `DivergedError` with step, losses and last good checkpoint unless everything is finite.

    `gradient_norm` is None where overflow is ordinary and skipped (fp16 with a loss scaler).
    """
    finite = math.isfinite(total) and all(map(math.isfinite, losses.values()))
    if finite and (gradient_norm is None or math.isfinite(gradient_norm)):
        return
    values = ", ".join(f"{name} {value:.6g}" for name, value in losses.items())
    norm = "" if gradient_norm is None else f", gradient norm {gradient_norm:.6g}"
    good = checkpoints.last
    kept = f"the last good checkpoint is {good}" if good is not None else "there is no checkpoint yet"
    raise DivergedError(
        f"training diverged at step {step}: {values}, total {total:.6g}{norm}; {kept}; "
        "lower optimizer.lr or set clip_norm"
    )
