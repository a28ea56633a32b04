"""Softened cross-entropy of logits against its definition, in blocks of any size."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.losses import logits as module
from compressor.losses.logits import logit_loss
from tests.losses import reference_more as reference

few = settings(max_examples=25, deadline=None)


def random_logits(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(*shape, generator=generator, dtype=torch.float64)


@few
@given(
    st.lists(st.integers(0, 4), max_size=3),
    st.integers(1, 6),
    st.floats(0.3, 5.0),
    st.sampled_from([None, 0.0, 0.5, 1.0]),
    st.integers(0, 2**20),
)
def test_logits_are_the_definition_for_any_number_of_dimensions(
    shape: list[int], classes: int, temperature: float, share: float | None, seed: int
) -> None:
    student, teacher = (random_logits(*shape, classes, seed=seed + i) for i in range(2))
    mask = None
    if share is not None:
        mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share
    value = logit_loss(student, teacher, temperature, mask)
    expected = reference.logits(
        student.numpy(), teacher.numpy(), temperature, None if mask is None else mask.numpy()
    )
    assert value.shape == ()
    assert value.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("block", [1, 10, 15, 1000])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_gradients_equal_finite_differences_and_blocks_do_not_show(
    monkeypatch: pytest.MonkeyPatch, block: int, temperature: float
) -> None:
    student, teacher = random_logits(3, 4, 5).requires_grad_(), random_logits(3, 4, 5, seed=1)
    mask = torch.rand(3, 4, generator=torch.Generator().manual_seed(2)) < 0.6
    whole = logit_loss(student, teacher, temperature, mask)
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", block)
    torch.testing.assert_close(logit_loss(student, teacher, temperature, mask), whole)
    assert torch.autograd.gradcheck(lambda s: logit_loss(s, teacher, temperature, mask), student)
    assert torch.autograd.gradcheck(lambda s: logit_loss(s, teacher, temperature), student)


def test_a_shifted_view_of_a_sequence_is_read_in_place() -> None:
    student, teacher = random_logits(2, 5, 7).requires_grad_(), random_logits(2, 5, 7, seed=1)
    value = logit_loss(student[:, :-1], teacher[:, :-1])
    (gradient,) = torch.autograd.grad(value, student)
    torch.testing.assert_close(value, logit_loss(student[:, :-1].contiguous(), teacher[:, :-1].contiguous()))
    assert (gradient[:, -1] == 0).all()
    assert (gradient[:, :-1] != 0).all()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_at_equality_the_value_is_the_teachers_entropy_and_nothing_moves(temperature: float) -> None:
    teacher = random_logits(6, 8)
    student = teacher.clone().requires_grad_()
    value = logit_loss(student, teacher, temperature)
    value.backward()
    p = (teacher / temperature).softmax(-1)
    torch.testing.assert_close(value.detach(), -(p * p.log()).sum(-1).mean() * temperature**2)
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-15
    for seed in range(5):
        assert logit_loss(teacher + random_logits(6, 8, seed=seed + 1), teacher, temperature) > value


def test_masked_positions_are_never_looked_at() -> None:
    student, teacher = random_logits(2, 3, 5), random_logits(2, 3, 5, seed=1)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    expected = logit_loss(student[mask], teacher[mask])
    student[~mask], teacher[~mask] = math.nan, math.inf
    student.requires_grad_()
    value = logit_loss(student, teacher, mask=mask)
    value.backward()
    torch.testing.assert_close(value.detach(), expected)
    assert student.grad is not None
    assert (student.grad[~mask] == 0).all()
    assert student.grad.isfinite().all()


def test_with_every_position_masked_it_is_zero_with_a_graph() -> None:
    student = random_logits(2, 3, 5).requires_grad_()
    value = logit_loss(student, random_logits(2, 3, 5, seed=1), mask=torch.zeros(2, 3, dtype=torch.bool))
    value.backward()
    assert value == 0
    assert student.grad is not None
    assert (student.grad == 0).all()


def test_the_inputs_stay_as_they_were() -> None:
    student, teacher = random_logits(4, 5), random_logits(4, 5, seed=1)
    before = student.clone(), teacher.clone()
    student.requires_grad_()
    logit_loss(student, teacher, 3.0).backward()
    assert torch.equal(student.detach(), before[0])
    assert torch.equal(teacher, before[1])


def test_at_high_temperature_the_gradient_keeps_its_size_thanks_to_the_factor() -> None:
    student, teacher = random_logits(4, 5).requires_grad_(), random_logits(4, 5, seed=1)
    sizes = [
        torch.autograd.grad(logit_loss(student, teacher, temperature), student)[0].norm()
        for temperature in (100.0, 1000.0)
    ]
    torch.testing.assert_close(*sizes, rtol=0.05, atol=0)


def test_what_does_not_fit_is_refused() -> None:
    logits = random_logits(2, 3, 5)
    with pytest.raises(ValueError, match=r"\(\.\.\., C\)"):
        logit_loss(logits, logits[..., :4])
    with pytest.raises(ValueError, match=r"\(\.\.\., C\)"):
        logit_loss(logits[..., :0], logits[..., :0])
    with pytest.raises(ValueError, match=r"\(\.\.\., C\)"):
        logit_loss(torch.tensor(1.0), torch.tensor(1.0))
    with pytest.raises(ValueError, match="mask"):
        logit_loss(logits, logits, mask=torch.ones(2, 5, dtype=torch.bool))
    for temperature in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="temperature"):
            logit_loss(logits, logits, temperature)
