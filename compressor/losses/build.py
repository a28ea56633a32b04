"""From the recipe's list of losses to one module that computes them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from compressor.errors import RecipeError
from compressor.losses.batch import EmbeddingBatch
from compressor.losses.ensemble import Member
from compressor.losses.queue import TeacherQueue
from compressor.losses.regression import regression_loss
from compressor.losses.rows import full_precision, unit_rows, without_autocast
from compressor.losses.terms import IN_TEACHER_WIDTH, Rows, loss_over_batch
from compressor.recipe.losses import AffinityLoss, AMADLoss, ContrastiveLoss, LossConfig, RegressionLoss

PUBLISHED_ALPHA = {"mse": 0.2, "student_to_teacher": 0.2, "one_to_one": 0.2, "rkd": 0.2}
"""Factor of `amad` in the paper for the forms on squared errors; the KL forms have 100."""


class LossSet(nn.Module):
    """All losses of a recipe over one (global) batch.

    A loss with several terms adds them up: `contrastive` v→V, t→T, v→T, t→V as its `pairs` say, `feature` and
    `similarity` and `rkd_distance` (v, V) and (t, T), `hard_negative` (v, V), (t, T), (v, T), (t, V). `task`,
    `affinity` and `icl` are the mean of their two directions, as in CLIP; `gradient`, `gram` and `regression`
    as their functions say. Rows without a caption count on the image side only.

    **Projection.** Where the widths differ a linear map `project` takes student rows to the teacher's width
    for the losses against the teacher; the task loss and the finished student do not see it. Image and text
    share the one map: separate maps could close the gap between the modalities by themselves, and leave it
    open in the student's own space, where retrieval happens. It starts as an isometry (orthonormal columns)
    for a narrower student and as an orthogonal projection (orthonormal rows) for a wider one. A narrower
    student reaches a subspace of the teacher's space only, so its feature loss has a floor above zero.

    **Unimodal teachers.** Rows of which such a teacher says nothing (a text teacher, no caption) are left out
    of `regression`, on the image side too.

    **Several processes.** Give it the batch of `gather_batch`: every process then computes the same losses
    and the full gradient of `project`, which starts equal everywhere (seeded); wrapping in DDP is not needed
    and does no harm.
    """

    def __init__(
        self,
        configs: Sequence[LossConfig],
        student_dim: int,
        teacher_dim: int | None,
        seed: int = 0,
        members: Sequence[Member] = (),
    ) -> None:
        super().__init__()
        self.configs = tuple(configs)
        self.members = tuple(members)
        self.project: nn.Linear | None = None
        self.regress: nn.Linear | None = None
        self.queue: TeacherQueue | None = None
        matching = any(isinstance(c, AMADLoss) and c.alpha == "match_initial_scale" for c in self.configs)
        self.matched_alpha: Tensor | None
        self.register_buffer("matched_alpha", torch.tensor(torch.nan) if matching else None)
        if teacher_dim is None:
            return
        generator = torch.Generator().manual_seed(seed)
        if student_dim != teacher_dim and any(isinstance(each, IN_TEACHER_WIDTH) for each in self.configs):
            self.project = nn.Linear(student_dim, teacher_dim, bias=False)
            nn.init.orthogonal_(self.project.weight, generator=generator)
        if any(isinstance(each, RegressionLoss) for each in self.configs):
            self.regress = nn.Linear(student_dim, teacher_dim)
            nn.init.orthogonal_(self.regress.weight, generator=generator)
            nn.init.zeros_(self.regress.bias)
        size = max((each.queue for each in self.configs if isinstance(each, ContrastiveLoss)), default=0)
        if size:
            self.queue = TeacherQueue(size, teacher_dim)

    def forward(self, batch: EmbeddingBatch, alignment: Tensor | None = None) -> dict[str, Tensor]:
        """Every loss under its kind: a scalar times its `weight`, float32 (float64 for float64 embeddings).

        Autocast is off inside. Teacher rows are constants here: no gradient flows into them.

        Args:
            batch: the embeddings of all processes.
            alignment: what `amad` found between the attention maps, before any factor; a scalar.

        Raises:
            ValueError: if a loss needs the teacher or attention maps and they are not given, or a width is
            not the expected one.
        """
        with without_autocast(batch.student_image):
            own = Rows(_full_precision_batch(batch))
            taught = own if self.project is None else Rows(self._in_teacher_width(own.all))
            losses: dict[str, Tensor] = {}
            for config in self.configs:
                if isinstance(config, AMADLoss):
                    continue
                if isinstance(config, RegressionLoss):
                    value = self._regression(config, own.all)
                else:
                    value = loss_over_batch(config, own, taught, self.queue, self.members)
                losses[config.kind] = config.weight * value
            for config in self.configs:
                if isinstance(config, AMADLoss):
                    if alignment is None:
                        raise ValueError("amad needs attention maps, and none were captured")
                    alpha = self._alpha(config, alignment, losses)
                    losses[config.kind] = config.weight * alpha * alignment
            return losses

    def _alpha(self, config: AMADLoss, alignment: Tensor, others: Mapping[str, Tensor]) -> float | Tensor:
        """The factor of `amad`; one that matches the scale is found at the first step and then stays."""
        return alignment_factor(config, self.matched_alpha, alignment, others)

    def _regression(self, config: RegressionLoss, batch: EmbeddingBatch) -> Tensor:
        if self.regress is None or batch.teacher_global is None:
            raise ValueError("regression needs a unimodal teacher's representations, and the batch has none")
        batch = batch.represented()
        assert batch.teacher_global is not None
        return regression_loss(
            self.regress(batch.student_image),
            self.regress(batch.student_text),
            batch.teacher_global,
            normalize=config.normalize,
            has_text=batch.has_text,
        )

    def _in_teacher_width(self, batch: EmbeddingBatch) -> EmbeddingBatch:
        if self.project is None:
            return batch
        weight = self.project.weight.to(batch.student_image.dtype)
        masked = batch.student_masked_image
        return replace(
            batch,
            student_image=unit_rows(batch.student_image @ weight.T),
            student_text=unit_rows(batch.student_text @ weight.T),
            student_masked_image=None if masked is None else unit_rows(masked @ weight.T),
        )

    @torch.no_grad()
    def update_queue(
        self, teacher_image: Tensor, teacher_text: Tensor, sample: Tensor, has_text: Tensor
    ) -> None:
        """Remember the teacher's rows of this (global) batch as later negatives; call once per optimiser
        step.

        Args:
            teacher_image: (B, E); in several processes the gathered rows, or the queues would differ.
            teacher_text: (B, E).
            sample: int64 (B,).
            has_text: bool (B,).
        """
        if self.queue is not None:
            self.queue.push(teacher_image, teacher_text, sample, has_text)


def alignment_factor(
    config: AMADLoss, matched: Tensor | None, alignment: Tensor, others: Mapping[str, Tensor]
) -> float | Tensor:
    """The factor of `amad`. `matched` is a buffer that keeps one that matches the scale; NaN until then.

    It is found in the first step in which both sides are finite and above 0; the factor is 1 until then.
    """
    if isinstance(config.alpha, float):
        return config.alpha
    if config.alpha == "published":
        return PUBLISHED_ALPHA.get(config.variant, 100.0)
    assert matched is not None
    if torch.isnan(matched):
        mean = torch.stack([loss.detach() for loss in others.values()]).mean()
        factor = mean / alignment.detach()
        if not (torch.isfinite(factor) and factor > 0):  # maps may be equal, or texts absent, by chance
            return 1.0
        matched.copy_(factor)
    return matched


def _full_precision_batch(batch: EmbeddingBatch) -> EmbeddingBatch:
    """Unit rows in one dtype (autocast may have left half precision), the teacher's cut off the graph.

    A unimodal teacher's representation keeps its length, which `regression` may regress.
    """
    image, text = full_precision(batch.student_image, batch.student_text)
    has_text = batch.has_text.to(torch.bool)
    masked, representation = batch.student_masked_image, batch.teacher_global
    teacher_image, teacher_text = batch.teacher_image, batch.teacher_text
    if teacher_image is not None and teacher_text is not None:
        teacher_image = unit_rows(teacher_image.detach().to(image.dtype))
        teacher_text = unit_rows(_where_captioned(teacher_text.detach().to(image.dtype), has_text))
    return replace(
        batch,
        student_image=unit_rows(image),
        student_text=unit_rows(_where_captioned(text, has_text)),
        teacher_image=teacher_image,
        teacher_text=teacher_text,
        has_text=has_text,
        student_masked_image=None if masked is None else unit_rows(masked.to(image.dtype)),
        teacher_global=None if representation is None else representation.detach().to(image.dtype),
    )


def _where_captioned(rows: Tensor, has_text: Tensor) -> Tensor:
    """Zeros for absent captions: a masked logit of a NaN row would still bring NaN into the gradient."""
    return rows.masked_fill(~has_text[:, None], 0)


def build_losses(
    configs: Sequence[LossConfig],
    student_dim: int,
    teacher_dim: int | None,
    seed: int = 0,
    members: Sequence[Member] = (),
) -> LossSet:
    """The losses of a recipe as one module.

    Args:
        configs: `distill.losses`.
        student_dim: width of the student's embeddings.
        teacher_dim: width of the teacher's, None without a teacher.
        seed: of the projection's start; equal seeds give equal projections in every process.
        members: of a teacher that is an ensemble; their widths add up to `teacher_dim`.

    Raises:
        RecipeError: for a loss that needs a teacher where there is none, for `contrastive` without any
        negatives, and for `affinity` to the distributions of an ensemble that is none.
    """
    for config in configs:
        if teacher_dim is None and config.requires:
            raise RecipeError(
                f"distill.losses: '{config.kind}' needs a teacher's {', '.join(sorted(config.requires))} and "
                "there is no teacher; name one or keep the task loss alone"
            )
        if isinstance(config, ContrastiveLoss) and not config.queue and not config.batch_negatives:
            raise RecipeError(
                "distill.losses: 'contrastive' has no negatives with queue: 0 and batch_negatives: false; "
                "allow one of them"
            )
        if isinstance(config, AffinityLoss) and config.ensemble == "distributions" and not members:
            raise RecipeError(
                "distill.losses: 'affinity' with ensemble: distributions needs a teacher of kind ensemble; "
                "take ensemble out"
            )
    return LossSet(configs, student_dim, teacher_dim, seed, members)
