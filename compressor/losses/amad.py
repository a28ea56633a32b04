"""Attention-map alignment distillation, AMAD (No Head Left Behind, AAAI 2024)."""

from __future__ import annotations

from functools import partial
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compressor.losses.amad_alignment import aligned_divergence, aligned_squared_error
from compressor.losses.attention_maps import counted_entries, only_counted
from compressor.losses.chunks import summed_over_samples
from compressor.losses.rkd_distance import rkd_distance_loss
from compressor.losses.rows import full_precision, unit_rows, without_autocast

Variant = Literal["mse", "kl", "token", "student_to_teacher", "one_to_one", "rkd"]
Reduction = Literal["mean", "sum"]


def amad_loss(
    teacher: Tensor,
    student: Tensor,
    variant: Variant = "mse",
    mask: Tensor | None = None,
    *,
    alignment_temperature: float = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Distance between the attention maps of a teacher layer and a student layer with any numbers of heads.

    Every teacher head t is compared with ŝ = Σ_h a_h s_h, a mix of all student heads in which those that
    resemble t weigh more: a is the softmax of the similarities over τ = `alignment_temperature`. The gradient
    flows through the weights a, too. The paper's factor α is not in here, it belongs to the recipe.

        mse                  maps flattened and scaled to Euclidean length 1, similarity t·s, ŝ scaled to
                             length 1 again; mean (ŝ − t)², α = 0.2
        kl                   maps flattened and scaled to sum 1, similarity t·s, then each row of t and of ŝ
                             scaled to sum 1; mean (t + ε)·(log(t + ε) − log(ŝ + ε)), ε = 1e-7, α = 100
        token                as `kl`, but every query row is scaled to sum 1 and aligned for itself; α = 100
        student_to_teacher   `mse` with the roles exchanged: each student head against a mix of the teacher's
        one_to_one           no alignment: the teacher's first Hs heads against the student's, flattened and
                             scaled to length 1; mean (s − t)²
        rkd                  no alignment: `rkd_distance_loss`, a sample's maps being one feature

    The paper's third variant, `projected`, has weights: `ProjectedAMAD`.

    **As published it hardly aligns.** At τ = 1 a softmax of cosines, all of them between 0 and 1, is not
    sharp, and dot products of maps that sum to 1 do not even reach 1/Q: at 50 tokens and more the weights of
    `kl` are equal to within about 1e-4, ŝ is the plain mean of the student's heads, and a student that equals
    its teacher does not score 0. The mean over all entries makes it small as well: α·`mse` is of the order of
    1e-5 at 197 tokens. A lower τ aligns: with it `mse` falls to 0 for equal maps (0.1 is usually low enough).
    `kl` and `token` need not, because t·s is not largest at s = t; it prefers concentrated heads.
    `one_to_one` and `rkd` are 0 for equal maps. Compare variants at matched scale.

    Args:
        teacher: (B, Ht, Q, K), any floating dtype; attention weights, nothing negative. Gradients flow into
            it if it asks.
        student: (B, Hs, Q, K), likewise.
        variant: as above.
        mask: bool or 0/1 integers, true where an entry counts; (B, K), (B, Q, K) or (B, 1, Q, K). For padded
            text `attention_mask` makes it. Other entries take no part in scaling, alignment or mean: the
            value is that of maps without them. None counts all. Causal maps need no mask.
        alignment_temperature: τ, above 0; does nothing for `one_to_one` and `rkd`.
        reduction: `mean` over the counted elements of the teacher's maps (the student's for
            `student_to_teacher` and `one_to_one`, pairs of samples for `rkd`), as published; or `sum` over
            the elements of a sample and the mean over the samples of which anything counts.

    Returns:
        Scalar, float32 (float64 if an input is float64), not below 0. Nothing that counts gives 0; rows and
        maps of zeros stay zeros. `kl` and `token` refuse a backward pass with `create_graph`.

    Raises:
        ValueError: for an unknown variant or reduction, shapes that do not fit, `one_to_one` with more
            student than teacher heads, or a temperature that is not positive.
    """
    if variant not in get_args(Variant):
        hint = "; 'projected' has weights, see ProjectedAMAD" if variant == "projected" else ""
        raise ValueError(f"variant must be one of {', '.join(get_args(Variant))}, got {variant!r}{hint}")
    _check_options(alignment_temperature, reduction)
    _check_shapes(teacher, student)
    heads = student.shape[1]
    if variant == "one_to_one" and heads > teacher.shape[1]:
        raise ValueError(
            f"one_to_one needs as many teacher heads as student heads, got {teacher.shape[1]} and {heads}"
        )
    counted = counted_entries(mask, teacher)
    with without_autocast(student):
        if variant in ("kl", "token"):
            formula = partial(
                aligned_divergence, temperature=alignment_temperature, by_query=variant == "token"
            )
            total = summed_over_samples(formula, teacher, student, counted)
            return _reduced(total, teacher, counted, reduction)
        teacher, student = (only_counted(maps, counted) for maps in full_precision(teacher, student))
        if variant == "rkd":
            return _relational(teacher, student, counted, reduction)
        if variant == "mse":
            total, maps = aligned_squared_error(teacher, student, alignment_temperature), teacher
        elif variant == "student_to_teacher":
            total, maps = aligned_squared_error(student, teacher, alignment_temperature), student
        else:
            total, maps = _squared_error(teacher[:, :heads], student), student
        return _reduced(total, maps, counted, reduction)


class ProjectedAMAD(nn.Module):
    """The paper's third variant, `kl` on ReLU(S Wᵀ + b), S being the student's flattened maps (n = Q·K).

    W (n x n) and b are trained with the student and then thrown away. They start as the identity and 0, where
    this is exactly `kl`: maps that are alike start near the minimum, and no entry starts dead under the ReLU,
    as half of them would with a random W.

    Args:
        queries: Q of the maps.
        keys: K of the maps.
        alignment_temperature: see `amad_loss`.
        reduction: see `amad_loss`.
        parameter_limit: of the n² + n parameters, which are 6.3e6 at 50 tokens and 1.5e9 at 197.

    Raises:
        ValueError: above the limit, or for what `amad_loss` refuses.
    """

    def __init__(
        self,
        queries: int,
        keys: int,
        *,
        alignment_temperature: float = 1.0,
        reduction: Reduction = "mean",
        parameter_limit: int = 16_000_000,
    ) -> None:
        super().__init__()
        _check_options(alignment_temperature, reduction)
        entries = queries * keys
        parameters = entries * (entries + 1)
        if parameters > parameter_limit:
            raise ValueError(
                f"projecting maps of {queries} x {keys} tokens takes {parameters:,} parameters, more than "
                f"the limit of {parameter_limit:,}; the variants 'kl' and 'token' take none"
            )
        self.queries = queries
        self.keys = keys
        self.alignment_temperature = alignment_temperature
        self.reduction: Reduction = reduction
        self.weight = nn.Parameter(torch.eye(entries))
        self.bias = nn.Parameter(torch.zeros(entries))

    def forward(self, teacher: Tensor, student: Tensor, mask: Tensor | None = None) -> Tensor:
        """Inputs, value and errors as of `amad_loss`; Q and K must be those of the module."""
        _check_shapes(teacher, student)
        if student.shape[2:] != (self.queries, self.keys):
            raise ValueError(
                f"this projection is for maps of {self.queries} x {self.keys} tokens, "
                f"got {student.shape[2]} x {student.shape[3]}"
            )
        counted = counted_entries(mask, student)
        with without_autocast(student):
            maps, weight, bias = full_precision(student, self.weight, self.bias)
            flat = only_counted(maps, counted).flatten(2)
            projected = F.linear(flat, weight, bias).relu().view_as(maps)
        return amad_loss(
            teacher,
            projected,
            "kl",
            counted,
            alignment_temperature=self.alignment_temperature,
            reduction=self.reduction,
        )


def _check_options(temperature: float, reduction: str) -> None:
    if not temperature > 0:
        raise ValueError(f"alignment_temperature must be above 0, got {temperature}")
    if reduction not in get_args(Reduction):
        raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")


def _check_shapes(teacher: Tensor, student: Tensor) -> None:
    shapes = f"got {tuple(teacher.shape)} and {tuple(student.shape)}"
    if teacher.ndim != 4 or student.ndim != 4 or len(teacher) != len(student):
        raise ValueError(f"attention maps must have the shapes (B, Ht, Q, K) and (B, Hs, Q, K), {shapes}")
    if teacher.shape[2:] != student.shape[2:]:
        raise ValueError(
            f"teacher and student maps must be between the same numbers of tokens, {shapes}; "
            "resize_attention brings maps of patches to one grid"
        )
    if 0 in teacher.shape[1:] or 0 in student.shape[1:]:
        raise ValueError(f"attention maps need at least one head, query and key, {shapes}")


def _reduced(total: Tensor, maps: Tensor, counted: Tensor | None, reduction: Reduction) -> Tensor:
    """The sum over what counts of (B, H, Q, K) maps, over the number of its elements or of its samples."""
    number: Tensor | int
    if counted is None:
        number = max(len(maps) if reduction == "sum" else maps.numel(), 1)
    else:
        entries, samples = maps.shape[1] * counted.sum(), _samples_that_count(counted).sum()
        number = (samples if reduction == "sum" else entries).clamp(min=1)
    return (total / number).clamp(min=0)  # between nearly equal maps rounding may bring it below 0


def _samples_that_count(counted: Tensor) -> Tensor:
    return counted.flatten(1).any(dim=1)


def _squared_error(teacher: Tensor, student: Tensor) -> Tensor:
    """Sum over all elements of the squared difference between maps scaled to Euclidean length 1."""
    first, second = (unit_rows(maps.flatten(0, 1).flatten(1)) for maps in (teacher, student))
    return (second - first).square().sum()


def _relational(teacher: Tensor, student: Tensor, counted: Tensor | None, reduction: Reduction) -> Tensor:
    """rkd_distance_loss between the samples of which anything counts."""
    if counted is not None:
        there = _samples_that_count(counted)
        teacher, student = teacher[there], student[there]
    loss = rkd_distance_loss(student.flatten(1), teacher.flatten(1))
    return loss * max(len(student) - 1, 0) if reduction == "sum" else loss
