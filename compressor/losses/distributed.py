"""One loss over the batches of all processes, with exact gradients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from compressor.errors import DataError
from compressor.losses.batch import EmbeddingBatch


def gather_batch(batch: EmbeddingBatch) -> EmbeddingBatch:
    """The batch of all processes, rows in the order of the ranks, with gradients into this process's rows.

    **Why the gradients are exact.** Let W processes hold the same parameters θ, let e_r(θ) be the rows that
    rank r encoded, and L(e_1, …, e_W) the loss, a mean over the global batch. After gathering every rank
    computes the *same* L. The backward of gathering adds up, for rank r's rows, the gradients that all W
    ranks found for them:

        Σ_ranks ∂L/∂e_r = W · ∂L/∂e_r,   hence the local gradient of θ on rank r is   W · ∂L/∂e_r · ∂e_r/∂θ.

    DDP (and FSDP) then takes the mean over the ranks:

        (1/W) · Σ_r W · ∂L/∂e_r · ∂e_r/∂θ = Σ_r ∂L/∂e_r · ∂e_r/∂θ = dL/dθ,

    the gradient of one process on the joined batch; the loss must not be scaled by W. A parameter that is
    applied after gathering (the projection of the losses, the logit scale) has the full gradient ∂L/∂φ on
    every rank, and the mean of equal numbers keeps it. `logit_scale` is therefore not gathered.

    `torch.distributed.nn.functional.all_gather` does the same (its backward is a reduce-scatter that sums,
    without a division), but is deprecated in torch 2.15 in favour of a private module, so the same rule is
    written out here on public collectives. BatchNorm in training mode mixes the rows of a process and is
    outside of this proof.

    Without a process group, or with one process, the batch is returned as it is.

    Raises:
        DataError: in every process, if they hold different numbers of rows or different widths.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return batch
    _refuse_uneven(batch)
    width = batch.student_image.shape[1]
    embedded = [batch.student_image, batch.student_text]
    if batch.student_masked_image is not None:
        embedded.append(batch.student_masked_image)
    students = _gather_rows(torch.cat(embedded, dim=1)).split(width, dim=1)
    labels = _gather_rows(torch.stack([batch.sample, batch.has_text.to(batch.sample)], dim=1))
    teacher_image, teacher_text = batch.teacher_image, batch.teacher_text
    if teacher_image is not None and teacher_text is not None:
        teachers = _gather_rows(torch.cat([teacher_image, teacher_text], dim=1))
        teacher_image, teacher_text = teachers.tensor_split([teacher_image.shape[1]], dim=1)
    representation = batch.teacher_global
    return replace(
        batch,
        student_image=students[0],
        teacher_global=None if representation is None else _gather_rows(representation),
        student_text=students[1],
        student_masked_image=students[2] if len(students) > 2 else None,
        teacher_image=teacher_image,
        teacher_text=teacher_text,
        sample=labels[:, 0],
        has_text=labels[:, 1].bool(),
    )


def _refuse_uneven(batch: EmbeddingBatch) -> None:
    """Collectives of unequal sizes hang or mix up rows, so every process compares all sizes first."""
    teacher = 0 if batch.teacher_image is None else batch.teacher_image.shape[1]
    own = torch.tensor([[*batch.student_image.shape, teacher]], device=batch.sample.device)
    sizes = _gather_rows(own).tolist()
    if any(size != sizes[0] for size in sizes):
        counts = ", ".join(f"{rows} rows of width {student} and {taught}" for rows, student, taught in sizes)
        raise DataError(
            f"the processes hold unequal batches ({counts}); make the batch size divisible by the number of "
            "processes"
        )


def _gather_rows(rows: Tensor) -> Tensor:
    """(B, D) of each process -> (W·B, D), the same in all of them."""
    gathered: Tensor = _GatherRows.apply(rows)
    return gathered


class _GatherRows(torch.autograd.Function):
    """all_gather along the rows; backward: the sum over processes of the gradients of this process's rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.rows = len(rows)
        parts = [
            torch.empty_like(rows, memory_format=torch.contiguous_format)
            for _ in range(dist.get_world_size())
        ]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # An all-reduce rather than a reduce-scatter, which gloo learned late: the one path of all backends is
        # then the path that is tested.
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total.narrow(0, dist.get_rank() * ctx.rows, ctx.rows)
