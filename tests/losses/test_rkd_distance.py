"""Relational distances against their definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.losses.rkd_distance import relative_distances, rkd_distance_loss
from tests.losses import reference_more as reference
from tests.losses.cases import rows

few = settings(max_examples=25, deadline=None)
sizes = st.integers(1, 7)


@few
@given(sizes, sizes, sizes, st.integers(0, 2**20), st.booleans())
def test_rkd_distance_is_the_definition(size: int, dim: int, wide: int, seed: int, doubles: bool) -> None:
    student, teacher = rows(size, dim, seed), rows(size, wide, seed + 1)
    if doubles:
        student[size // 2], teacher[-1] = student[0], teacher[0]
    value = rkd_distance_loss(student, teacher)
    assert value.shape == ()
    expected = reference.rkd_distance(student.numpy(), teacher.numpy())
    assert value.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_gradients_on_both_branches_of_huber_equal_finite_differences() -> None:
    student, teacher = rows(5, 3, 1), rows(5, 6, 2)
    student[0] *= 20
    errors = (relative_distances(student) - relative_distances(teacher)).abs()
    assert errors.min() < 0.9
    assert errors.max() > 1.1
    inputs = (student.requires_grad_(), teacher.requires_grad_())
    assert torch.autograd.gradcheck(rkd_distance_loss, inputs)


def test_a_teacher_rotated_shifted_scaled_and_embedded_in_more_dimensions_is_a_perfect_student() -> None:
    teacher = rows(8, 5, 3)
    rotation = torch.linalg.qr(rows(5, 5, 4)).Q
    student = torch.nn.functional.pad(3.7 * teacher @ rotation + rows(1, 5, 5), (0, 3))
    assert rkd_distance_loss(student, teacher).item() < 1e-25
    student[0] += 1
    assert rkd_distance_loss(student, teacher).item() > 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_rows_have_no_distance_and_finite_gradients(dtype: torch.dtype) -> None:
    student, teacher = rows(6, 512, 6, dtype) + 10, rows(6, 512, 7, dtype)
    student[3], student[5] = student[0], student[0]
    distances = relative_distances(student)
    assert (distances == 0).sum() == 3
    assert distances.sum() == pytest.approx(12)
    student.requires_grad_()
    rkd_distance_loss(student, teacher).backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_rows_that_all_agree_are_left_where_they_are() -> None:
    student = torch.ones(4, 3, dtype=torch.float64, requires_grad=True)
    value = rkd_distance_loss(student, rows(4, 3, 8))
    value.backward()
    assert value > 0
    assert student.grad is not None
    assert (student.grad == 0).all()


@pytest.mark.parametrize("factor", [1e-30, 1e-15, 1e15])
def test_rows_of_any_size_keep_their_relations_in_float32(factor: float) -> None:
    student, teacher = rows(5, 4, 9, torch.float32), rows(5, 4, 10, torch.float32)
    torch.testing.assert_close(
        rkd_distance_loss(student * factor, teacher), rkd_distance_loss(student, teacher)
    )


def test_float32_agrees_with_float64_where_rows_lie_close_together() -> None:
    centre = rows(1, 64, 11)
    student, teacher = centre + 1e-3 * rows(8, 64, 12), rows(8, 64, 13)
    student = student.float().double()
    value, expected = rkd_distance_loss(student.float(), teacher.float()), rkd_distance_loss(student, teacher)
    assert value.item() == pytest.approx(expected.item(), rel=1e-4)


def test_what_is_not_two_matrices_is_refused() -> None:
    for student, teacher in ((rows(4, 3, 0), rows(5, 3, 0)), (rows(4, 3, 0)[0], rows(4, 3, 0)[0])):
        with pytest.raises(ValueError, match="number of rows"):
            rkd_distance_loss(student, teacher)
