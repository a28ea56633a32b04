"""AMAD against its definition, its gradient against finite differences, and what it promises."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compressor.losses import chunks
from compressor.losses.amad import ProjectedAMAD, Variant, amad_loss
from compressor.losses.amad_alignment import head_weights
from tests.losses import amad_reference as reference
from tests.losses.attention_cases import (
    DIVERGENCES,
    SQUARED,
    Case,
    attention,
    cases,
    counted_of,
    every_variant,
    gradient,
)

few = settings(max_examples=40, deadline=None)


@every_variant
@few
@given(case=cases(), temperature=st.floats(0.01, 3.0), reduction=st.sampled_from(["mean", "sum"]))
def test_every_variant_is_its_definition(
    variant: Variant, case: Case, temperature: float, reduction: str
) -> None:
    value = amad_loss(
        case.teacher,
        case.student,
        variant,
        case.mask,
        alignment_temperature=temperature,
        reduction=reduction,  # type: ignore[arg-type]
    )
    expected = reference.loss(
        variant,
        case.teacher.numpy(),
        case.student.numpy(),
        counted_of(case.mask, case.teacher),
        temperature,
        reduction,
    )
    assert value.shape == ()
    assert value.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(max_examples=15, deadline=None)
@given(case=cases(), temperature=st.floats(0.01, 3.0))
def test_projected_is_its_definition(case: Case, temperature: float) -> None:
    queries, keys = case.student.shape[2:]
    module = ProjectedAMAD(queries, keys, alignment_temperature=temperature).double()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        module.weight.add_(torch.randn(module.weight.shape, generator=generator), alpha=0.3)
        module.bias.add_(torch.randn(module.bias.shape, generator=generator), alpha=0.1)
    counted = counted_of(case.mask, case.student)
    projected = reference.projected(
        case.student.numpy(), module.weight.detach().numpy(), module.bias.detach().numpy(), counted
    )
    expected = reference.loss("kl", case.teacher.numpy(), projected, counted, temperature)
    value = module(case.teacher, case.student, case.mask)
    assert value.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@every_variant
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_gradients_equal_finite_differences(variant: Variant, masked: bool, temperature: float) -> None:
    teacher = attention(3, 4, 3, 4, 1).requires_grad_()
    student = attention(3, 3, 3, 4, 2).requires_grad_()
    mask = torch.rand(3, 3, 4, generator=torch.Generator().manual_seed(3)) < 0.7 if masked else None
    assert torch.autograd.gradcheck(
        lambda t, s: amad_loss(t, s, variant, mask, alignment_temperature=temperature), (teacher, student)
    )


@pytest.mark.parametrize("variant", DIVERGENCES)
def test_gradient_where_the_student_does_not_look_and_the_teacher_does(variant: Variant) -> None:
    """There ε decides, and finite differences are of no use."""
    teacher, student = attention(2, 1, 4, 5, 1), attention(2, 1, 4, 5, 2)
    student[:, :, :, 0] = 0

    def written_out(maps: Tensor) -> Tensor:
        target, row = teacher + 1e-7, maps / maps.sum(dim=-1, keepdim=True) + 1e-7
        return (target * (target.log() - row.log())).mean()  # a single head: nothing to align

    found = gradient(lambda s: amad_loss(teacher, s, variant), student)
    torch.testing.assert_close(found, gradient(written_out, student), rtol=1e-9, atol=1e-12)


def test_gradients_of_the_projection_equal_finite_differences() -> None:
    teacher, student = attention(2, 3, 2, 3, 1), attention(2, 2, 2, 3, 2).requires_grad_()
    module = ProjectedAMAD(2, 3).double()
    weight = (module.weight.detach() + 0.05).requires_grad_()
    bias = (module.bias.detach() + 0.02).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s, w, b: torch.func.functional_call(module, {"weight": w, "bias": b}, (teacher, s)),
        (student, weight, bias),
    )


@every_variant
def test_size_of_the_chunks_changes_neither_value_nor_gradient(
    variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, student = attention(7, 4, 5, 6, 1), attention(7, 3, 5, 6, 2)
    values, gradients = [], []
    for elements in (1, 3 * 4 * 30, 10**9):  # one sample at a time, three, all
        monkeypatch.setattr(chunks, "CPU_CHUNK", elements)
        values.append(amad_loss(teacher, student, variant))
        gradients.append(gradient(lambda s: amad_loss(teacher, s, variant), student))
    for value, found in zip(values, gradients, strict=True):
        torch.testing.assert_close(value, values[0])
        torch.testing.assert_close(found, gradients[0])


@pytest.mark.parametrize("variant", [*SQUARED, *DIVERGENCES])
def test_float32_gradients_of_large_maps_are_those_of_float64(variant: Variant) -> None:
    teacher, student = attention(2, 6, 65, 65, 1), attention(2, 4, 65, 65, 2)
    exact = gradient(lambda s: amad_loss(teacher, s, variant), student)
    single = gradient(lambda s: amad_loss(teacher.float(), s, variant), student.float())
    assert ((single - exact).norm() / exact.norm()).item() < 1e-5


@every_variant
def test_order_of_the_heads_matters_only_one_to_one(variant: Variant) -> None:
    teacher, student = attention(3, 5, 4, 6, 1), attention(3, 4, 4, 6, 2)
    value = amad_loss(teacher, student, variant)
    for moved in (
        amad_loss(teacher, student[:, [2, 0, 3, 1]], variant),
        amad_loss(teacher[:, [3, 0, 4, 1, 2]], student, variant),
    ):
        assert torch.isclose(moved, value, rtol=1e-9) == (variant != "one_to_one")


@every_variant
def test_a_single_head_that_equals_its_teacher_scores_zero(variant: Variant) -> None:
    maps = attention(3, 1, 5, 5)
    assert amad_loss(maps, maps, variant).item() == pytest.approx(0, abs=1e-15)
    assert gradient(lambda s: amad_loss(maps, s, variant), maps).abs().max() < 1e-12


def test_a_student_that_equals_its_teacher_scores_zero_only_where_heads_are_told_apart() -> None:
    maps = attention(4, 6, 20, 20)
    assert amad_loss(maps, maps, "one_to_one").item() == 0
    assert amad_loss(maps, maps, "rkd").item() == 0
    for variant in (*SQUARED, *DIVERGENCES):
        assert amad_loss(maps, maps, variant) > 1e-5
    for variant in SQUARED:
        values = [
            amad_loss(maps, maps, variant, alignment_temperature=temperature).item()
            for temperature in (1.0, 0.3, 0.1, 0.02)
        ]
        assert values == sorted(values, reverse=True)
        assert values[-1] < 1e-12


def test_alignment_finds_a_student_whose_heads_are_in_another_order() -> None:
    teacher = attention(4, 6, 20, 20)
    shuffled, other = teacher[:, [4, 2, 0, 5, 3, 1]], attention(4, 6, 20, 20, 9)
    for variant in SQUARED:
        found = amad_loss(teacher, shuffled, variant, alignment_temperature=0.02)
        assert found < 1e-6 * amad_loss(teacher, other, variant, alignment_temperature=0.02)
    assert amad_loss(teacher, shuffled, "one_to_one") > 1e-4


def test_dot_products_of_maps_of_sum_one_prefer_concentrated_heads_to_equal_ones() -> None:
    blurred = torch.full((1, 1, 6, 6), 1 / 6, dtype=torch.float64) + 0.01 * torch.eye(6)
    sharp = 0.9 * torch.eye(6, dtype=torch.float64)[None, None] + 0.1 / 6
    weights, _ = head_weights(blurred.flatten(2), torch.cat([blurred, sharp], dim=1).flatten(2), 1e-5)
    assert weights[0, 0, 1] > 0.99


@pytest.mark.parametrize("tokens", [50, 197])
def test_as_published_the_alignment_is_nearly_uniform(tokens: int) -> None:
    teacher, student = (attention(2, heads, tokens, tokens, heads, torch.float32) for heads in (16, 12))
    weights, _ = head_weights(teacher.flatten(2), student.flatten(2), 1.0)
    assert (weights - 1 / 12).abs().max() < 1e-4
    plain_mean = student.mean(dim=1, keepdim=True)
    torch.testing.assert_close(
        amad_loss(teacher, student, "kl"), amad_loss(teacher, plain_mean, "kl"), rtol=1e-3, atol=0
    )


def test_as_published_the_squared_error_is_tiny_and_its_sum_is_not() -> None:
    teacher, student = (attention(2, heads, 197, 197, heads, torch.float32) for heads in (16, 12))
    assert 1e-6 < 0.2 * amad_loss(teacher, student).item() < 1e-4
    summed = amad_loss(teacher, student, reduction="sum").item()
    assert summed == pytest.approx(amad_loss(teacher, student).item() * 16 * 197 * 197, rel=1e-5)


def test_a_projection_starts_as_kl_and_learns() -> None:
    teacher, student = attention(4, 4, 5, 5, 1, torch.float32), attention(4, 3, 5, 5, 2, torch.float32)
    module = ProjectedAMAD(5, 5)
    torch.testing.assert_close(module(teacher, student), amad_loss(teacher, student, "kl"))
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(30):
        optimiser.zero_grad()
        module(teacher, student).backward()
        optimiser.step()
    assert module(teacher, student) < 0.8 * amad_loss(teacher, student, "kl")
