"""AMAD at its edges: masks, zeros, NaN, half precision, graphs kept or absent, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest
import torch

from compressor.losses.amad import ProjectedAMAD, Reduction, Variant, amad_loss
from compressor.losses.attention_maps import attention_mask
from tests.losses.attention_cases import (
    DIVERGENCES,
    attention,
    every_variant,
    gradient,
)


@every_variant
def test_masked_entries_change_nothing_and_get_no_gradient(variant: Variant) -> None:
    teacher, student = attention(3, 4, 5, 5, 1), attention(3, 3, 5, 5, 2)
    tokens = torch.tensor([[True] * 5, [True, True, True, False, False], [False, True, True, True, False]])
    mask = attention_mask(tokens)
    value = amad_loss(teacher, student, variant, mask)
    found = gradient(lambda s: amad_loss(teacher, s, variant, mask), student)
    hidden = ~mask[:, None]
    assert not found.masked_select(hidden).any()
    for replacement in (0.7, -3.0, torch.nan, torch.inf):
        changed = student.masked_fill(hidden, replacement).requires_grad_()
        again = amad_loss(teacher.masked_fill(hidden, replacement), changed, variant, mask)
        assert torch.equal(again, value)
        assert torch.equal(torch.autograd.grad(again, changed)[0], found)


@every_variant
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_masked_value_is_that_of_the_cropped_maps(variant: Variant, reduction: str) -> None:
    teacher, student = attention(3, 4, 5, 6, 1), attention(3, 3, 5, 6, 2)
    queries, keys = torch.zeros(3, 5, dtype=torch.bool), torch.zeros(3, 6, dtype=torch.bool)
    queries[:, 1:4], keys[:, :4] = True, True
    whole, cropped = (
        amad_loss(t, s, variant, m, reduction=reduction)  # type: ignore[arg-type]
        for t, s, m in (
            (teacher, student, attention_mask(queries, keys)),
            (teacher[..., 1:4, :4], student[..., 1:4, :4], None),
        )
    )
    torch.testing.assert_close(whole, cropped)


def test_a_projection_does_not_see_masked_entries() -> None:
    teacher, student = attention(2, 3, 3, 3, 1), attention(2, 2, 3, 3, 2)
    module = ProjectedAMAD(3, 3).double()
    torch.nn.init.constant_(module.weight, 0.1)
    mask = attention_mask(torch.tensor([[True, True, False], [True, True, True]]))
    other = student.masked_fill(~mask[:, None], torch.nan)
    assert torch.equal(module(teacher, other, mask), module(teacher, student, mask))


def test_masks_of_every_accepted_shape_mean_the_same() -> None:
    teacher, student = attention(2, 3, 4, 5, 1), attention(2, 2, 4, 5, 2)
    keys = torch.tensor([[True, True, True, False, False], [True, True, True, True, False]])
    values = [
        amad_loss(teacher, student, "kl", mask)
        for mask in (
            keys,
            keys.long(),
            keys[:, None, :],
            keys[:, None, None, :],
            keys[:, None, :].expand(2, 4, 5),
            keys[:, None, None, :].expand(2, 1, 4, 5),
            attention_mask(torch.ones(2, 4, dtype=torch.bool), keys),
        )
    ]
    assert all(torch.equal(value, values[0]) for value in values)
    assert not torch.isclose(values[0], amad_loss(teacher, student, "kl"))


def test_token_masks_become_rows_times_columns() -> None:
    tokens = torch.tensor([[1, 1, 0]])
    assert attention_mask(tokens).tolist() == [[[True, True, False], [True, True, False], [False] * 3]]
    assert attention_mask(tokens, torch.tensor([[0, 1]])).tolist() == [[[False, True]] * 2 + [[False, False]]]


@every_variant
def test_causal_maps_need_no_mask(variant: Variant) -> None:
    future = torch.ones(6, 6, dtype=torch.bool).triu(1)
    teacher, student = attention(3, 4, 6, 6, 1), attention(3, 3, 6, 6, 2)
    teacher, student = (
        maps.masked_fill(future, 0) / maps.masked_fill(future, 0).sum(-1, keepdim=True)
        for maps in (teacher, student)
    )
    with_mask = amad_loss(teacher, student, variant, ~future[None], reduction="sum")
    torch.testing.assert_close(amad_loss(teacher, student, variant, reduction="sum"), with_mask)


@every_variant
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_zeros_and_nothing_that_counts_stay_finite(variant: Variant, batch: int) -> None:
    teacher, student = attention(batch, 3, 4, 4, 1), attention(batch, 2, 4, 4, 2)
    empty_row, empty_head = student.clone(), student.clone()
    empty_row[:, :, 1] = 0
    empty_head[:, 0] = 0
    nothing = torch.zeros(batch, 4, 4, dtype=torch.bool)
    one_sample_hidden = torch.ones(batch, 4, 4, dtype=torch.bool)
    one_sample_hidden[:1] = False
    row_hidden = one_sample_hidden.clone()
    row_hidden[:, 2] = False
    for maps, taught, mask in (
        (student, teacher, None),
        (empty_row, teacher, None),
        (empty_head, teacher, None),
        (torch.zeros_like(student), teacher, None),
        (student, torch.zeros_like(teacher), None),
        (torch.zeros_like(student), torch.zeros_like(teacher), None),
        (student, teacher, nothing),
        (student, teacher, one_sample_hidden),
        (student, teacher, row_hidden),
    ):
        leaves = [maps.clone().requires_grad_(), taught.clone().requires_grad_()]
        value = amad_loss(leaves[1], leaves[0], variant, mask)
        assert value.isfinite()
        assert value >= 0
        if mask is nothing or batch == 0:
            assert value == 0
        value.backward()
        assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)


@every_variant
def test_a_sample_that_is_all_masked_does_not_count(variant: Variant) -> None:
    teacher, student = attention(4, 3, 5, 5, 1), attention(4, 2, 5, 5, 2)
    mask = torch.ones(4, 5, 5, dtype=torch.bool)
    mask[2] = False
    others = [0, 1, 3]
    for reduction in get_args(Reduction):
        torch.testing.assert_close(
            amad_loss(teacher, student, variant, mask, reduction=reduction),
            amad_loss(teacher[others], student[others], variant, reduction=reduction),
        )


@every_variant
@pytest.mark.parametrize("side", ["teacher", "student"])
def test_nan_shows(variant: Variant, side: str) -> None:
    teacher, student = attention(3, 3, 4, 4, 1), attention(3, 2, 4, 4, 2)
    (teacher if side == "teacher" else student)[1, 0, 2, 3] = torch.nan
    assert amad_loss(teacher, student, variant).isnan()


@every_variant
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_even_under_autocast(
    variant: Variant, dtype: torch.dtype
) -> None:
    teacher, student = attention(3, 4, 8, 8, 1).to(dtype), attention(3, 3, 8, 8, 2).to(dtype)
    expected = amad_loss(teacher.double(), student.double(), variant)
    leaf = student.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = amad_loss(teacher, leaf, variant)
    (value * 1000).backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-9)
    assert leaf.grad is not None
    assert leaf.grad.dtype == dtype
    exact = gradient(lambda s: 1000 * amad_loss(teacher.double(), s, variant), student.double())
    torch.testing.assert_close(leaf.grad.double(), exact, rtol=0.02, atol=1e-4 * exact.abs().max().item())


@pytest.mark.parametrize("variant", DIVERGENCES)
def test_loss_scaling_saves_gradients_that_float16_cannot_hold(variant: Variant) -> None:
    teacher, student = attention(4, 4, 50, 50, 1), attention(4, 4, 50, 50, 2).half()
    plain = gradient(lambda s: amad_loss(teacher, s, variant).float(), student)
    scaled = gradient(lambda s: amad_loss(teacher, s, variant).float() * 2**16, student)
    assert (plain == 0).float().mean() > (scaled == 0).float().mean()
    assert (scaled != 0).float().mean() > 0.99


@every_variant
def test_without_gradients_the_value_is_the_same(variant: Variant) -> None:
    teacher, student = attention(2, 3, 4, 4, 1), attention(2, 2, 4, 4, 2).requires_grad_()
    value = amad_loss(teacher, student, variant)
    with torch.no_grad():
        assert torch.equal(amad_loss(teacher, student, variant), value.detach())
    assert not amad_loss(teacher, student.detach(), variant).requires_grad


@every_variant
def test_a_kept_graph_gives_the_same_gradient_again(variant: Variant) -> None:
    teacher, student = attention(3, 3, 4, 4, 1), attention(3, 2, 4, 4, 2).requires_grad_()
    value = amad_loss(teacher, student, variant)
    first = torch.autograd.grad(3 * value, student, retain_graph=True)[0]
    assert torch.equal(torch.autograd.grad(3 * value, student)[0], first)


def test_gradients_of_gradients_are_right_or_refused() -> None:
    teacher, student = attention(2, 2, 3, 3, 1), attention(2, 2, 3, 3, 2).requires_grad_()
    assert torch.autograd.gradgradcheck(amad_loss, (teacher, student))
    for variant in DIVERGENCES:
        with pytest.raises(RuntimeError, match="no gradients of gradients"):
            torch.autograd.grad(amad_loss(teacher, student, variant), student, create_graph=True)


def test_a_projection_above_the_limit_is_refused_before_it_is_made() -> None:
    with pytest.raises(ValueError, match=r"197 x 197 tokens takes 1,506,\d+,\d+ parameters"):
        ProjectedAMAD(197, 197)
    with pytest.raises(ValueError, match="limit of 89"):
        ProjectedAMAD(3, 3, parameter_limit=89)
    assert sum(parameter.numel() for parameter in ProjectedAMAD(3, 3, parameter_limit=90).parameters()) == 90


def test_what_does_not_fit_is_refused_in_one_sentence() -> None:
    teacher, student = attention(2, 4, 5, 5), attention(2, 3, 5, 5)
    ones = torch.ones(2, 3, 5, 5, dtype=torch.bool)
    refused: list[tuple[str, Callable[[], object]]] = [
        ("variant must be one of", lambda: amad_loss(teacher, student, "cosine")),  # type: ignore[arg-type]
        ("ProjectedAMAD", lambda: amad_loss(teacher, student, "projected")),  # type: ignore[arg-type]
        ("'mean' or 'sum'", lambda: amad_loss(teacher, student, reduction="batchmean")),  # type: ignore[arg-type]
        ("'mean' or 'sum'", lambda: ProjectedAMAD(2, 2, reduction="none")),  # type: ignore[arg-type]
        ("above 0", lambda: amad_loss(teacher, student, alignment_temperature=0)),
        ("above 0", lambda: ProjectedAMAD(2, 2, alignment_temperature=float("nan"))),
        ("must have the shapes", lambda: amad_loss(teacher[0], student)),
        ("must have the shapes", lambda: amad_loss(teacher, student[:1])),
        ("resize_attention", lambda: amad_loss(teacher, attention(2, 3, 5, 4))),
        ("resize_attention", lambda: amad_loss(teacher, attention(2, 3, 4, 4))),
        ("at least one head", lambda: amad_loss(teacher, student[:, :0])),
        ("as many teacher heads", lambda: amad_loss(student, teacher, "one_to_one")),
        ("maps of 3 x 3 tokens", lambda: ProjectedAMAD(3, 3)(teacher, student)),
        ("the mask must", lambda: amad_loss(teacher, student, mask=ones[:, 0, 0, :4])),
        ("one mask serves", lambda: amad_loss(teacher, student, mask=ones)),
        ("additive masks", lambda: amad_loss(teacher, student, mask=torch.zeros(2, 5))),
        ("token masks", lambda: attention_mask(ones[0, 0, 0])),
    ]
    for words, call in refused:
        with pytest.raises(ValueError, match=words):
            call()
