"""Each loss against its definition, its gradient against finite differences, and what all of them share."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.losses import contrastive_loss, feature_loss, hard_negative_loss, similarity_loss, task_loss
from tests.losses import reference
from tests.losses.cases import LOSSES, Case, Loss, cases, rows

few = settings(max_examples=25, deadline=None)
temperatures = st.floats(0.02, 2.0)


def close(value: torch.Tensor, expected: float) -> None:
    assert value.shape == ()
    assert value.item() == pytest.approx(expected, rel=1e-9, abs=1e-11)


@few
@given(cases(), temperatures)
def test_contrastive_with_batch_negatives_is_the_definition(case: Case, temperature: float) -> None:
    close(
        contrastive_loss(case.student, case.teacher, temperature),
        reference.contrastive(*case.arrays, temperature),
    )
    close(
        contrastive_loss(case.student, case.teacher, temperature, negative_mask=case.square_mask),
        reference.contrastive(*case.arrays, temperature, mask=case.square_mask.numpy()),
    )


@few
@given(cases(), temperatures, st.booleans())
def test_contrastive_with_given_negatives_is_the_definition(
    case: Case, temperature: float, masked: bool
) -> None:
    mask = case.mask if masked else None
    close(
        contrastive_loss(case.student, case.teacher, temperature, case.negatives, mask),
        reference.contrastive(
            *case.arrays, temperature, case.negatives.numpy(), None if mask is None else mask.numpy()
        ),
    )


@few
@given(cases(), st.sampled_from(["l1", "l2"]))
def test_feature_is_the_definition_and_does_not_normalise(case: Case, norm: str) -> None:
    close(feature_loss(case.student, case.teacher, norm), reference.feature(*case.arrays, norm))  # type: ignore[arg-type]


@few
@given(cases())
def test_similarity_is_the_definition_for_rows_of_any_length(case: Case) -> None:
    close(similarity_loss(case.student, case.teacher), reference.similarity(*case.arrays))


@few
@given(cases(), st.floats(0.01, 1.0), st.sampled_from(["hardest", "sum"]))
def test_hard_negative_is_the_definition(case: Case, margin: float, mining: str) -> None:
    for mask in (None, case.square_mask):
        close(
            hard_negative_loss(case.student, case.teacher, margin, mining, mask),  # type: ignore[arg-type]
            reference.hard_negative(*case.arrays, margin, mining, None if mask is None else mask.numpy()),
        )


@few
@given(cases(), st.floats(1.0, 100.0))
def test_task_is_the_definition(case: Case, scale: float) -> None:
    for mask in (None, case.square_mask):
        close(
            task_loss(case.student, case.teacher, torch.tensor(scale, dtype=torch.float64), mask),
            reference.task(*case.arrays, scale, None if mask is None else mask.numpy()),
        )


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_gradients_equal_finite_differences(loss: Loss) -> None:
    student, teacher = rows(4, 5, 1).requires_grad_(), rows(4, 5, 2).requires_grad_()
    assert torch.autograd.gradcheck(loss, (student, teacher))


def test_gradients_with_a_mask_and_of_the_logit_scale_equal_finite_differences() -> None:
    student, teacher, negatives = (rows(4, 5, seed).requires_grad_() for seed in (1, 2, 3))
    mask = torch.tensor([[True] * 4, [True, False, False, True], [False] * 4, [False, True, True, True]])
    scale = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda s, t, n: contrastive_loss(s, t, 0.5, n, mask), (student, teacher, negatives)
    )
    assert torch.autograd.gradcheck(lambda s, t, c: task_loss(s, t, c, mask), (student, teacher, scale))
    for mining in ("hardest", "sum"):
        assert torch.autograd.gradcheck(
            lambda s, t, mining=mining: hard_negative_loss(s, t, 0.7, mining, mask), (student, teacher)
        )


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_order_of_the_samples_does_not_matter(loss: Loss) -> None:
    student, teacher = rows(6, 4, 3), rows(6, 4, 4)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    torch.testing.assert_close(loss(student[order], teacher[order]), loss(student, teacher))


@pytest.mark.parametrize("name", [name for name in LOSSES if not name.startswith("feature")])
def test_length_of_the_rows_does_not_matter_where_cosines_are_compared(name: str) -> None:
    student, teacher = rows(5, 4, 5), rows(5, 4, 6)
    torch.testing.assert_close(LOSSES[name](student * 7.0, teacher * 0.01), LOSSES[name](student, teacher))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_inputs_are_computed_in_float32(loss: Loss, dtype: torch.dtype) -> None:
    student, teacher = rows(6, 16, 7, dtype).requires_grad_(), rows(6, 16, 8, dtype)
    value = loss(student, teacher)
    value.backward()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(student.detach().float(), teacher.float()))
    assert student.grad is not None
    assert student.grad.dtype == dtype
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_autocast_does_not_lower_the_precision(loss: Loss) -> None:
    student, teacher = rows(8, 32, 9, torch.float32), rows(8, 32, 10, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(student, teacher)
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(student, teacher))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_zero_rows_huge_rows_and_tiny_rows_stay_finite(loss: Loss) -> None:
    student, teacher = rows(5, 4, 11, torch.float32), rows(5, 4, 12, torch.float32)
    student[0] = 0
    teacher[1] = 0
    student[2] *= 1e-30
    student[3] *= 1e15
    student.requires_grad_()
    value = loss(student, teacher)
    value.backward()
    assert value.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
@pytest.mark.parametrize("size", [0, 1])
def test_one_row_or_none_gives_a_finite_value_with_a_graph(loss: Loss, size: int) -> None:
    student, teacher = rows(size, 4, 13).requires_grad_(), rows(size, 4, 14)
    value = loss(student, teacher)
    value.backward()
    assert value.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert size == 1 or value == 0


@pytest.mark.parametrize("name", ["contrastive", "hard_negative", "hard_negative_sum", "task"])
def test_one_row_has_no_negative_and_scores_zero(name: str) -> None:
    assert LOSSES[name](rows(1, 4, 15), rows(1, 4, 16)).item() == 0.0


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_nan_in_the_embeddings_shows_in_the_loss(loss: Loss) -> None:
    student, teacher = rows(4, 4, 17), rows(4, 4, 18)
    student[2, 1] = math.nan
    assert loss(student, teacher).isnan()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_shapes_that_differ_are_refused(loss: Loss) -> None:
    with pytest.raises(ValueError, match=r"\(B, D\)"):
        loss(rows(4, 3, 0), rows(5, 3, 0))


@few
@given(cases())
def test_a_student_that_equals_its_teacher_has_no_distance(case: Case) -> None:
    assert feature_loss(case.teacher, case.teacher) == 0
    assert feature_loss(case.teacher, case.teacher, "l2") == 0
    assert 0 <= similarity_loss(case.teacher, case.teacher) < 1e-12
    assert similarity_loss(-case.teacher, case.teacher).item() == pytest.approx(1)


def test_similarity_is_never_below_zero() -> None:
    teacher = rows(200, 64, 19, torch.float32)
    for row in teacher.split(1):
        assert similarity_loss(row, row) >= 0


def test_contrastive_is_lowest_where_the_student_equals_a_spread_out_teacher() -> None:
    teacher = torch.eye(6, dtype=torch.float64)
    best = contrastive_loss(teacher, teacher)
    assert best < 1e-7
    for seed in range(5):
        assert contrastive_loss(teacher + 0.3 * rows(6, 6, seed), teacher) > best


def test_hard_negative_is_zero_once_every_pair_wins_by_the_margin() -> None:
    teacher = torch.eye(5, dtype=torch.float64)
    assert hard_negative_loss(teacher, teacher, 0.99) == 0
    assert hard_negative_loss(teacher, teacher, 1.5).item() == pytest.approx(2 * 0.5)
    assert hard_negative_loss(teacher, teacher, 1.5, "sum").item() == pytest.approx(2 * 4 * 0.5)


def test_a_positive_left_among_the_negatives_costs_a_perfect_student_log_two() -> None:
    teacher = torch.eye(4, dtype=torch.float64)
    unmasked = contrastive_loss(teacher, teacher, 0.02, negatives=teacher)
    masked = contrastive_loss(teacher, teacher, 0.02, negatives=teacher, negative_mask=torch.eye(4).bool())
    assert unmasked.item() == pytest.approx(math.log(2), abs=1e-9)
    assert masked.item() < 1e-12


def test_a_row_whose_negatives_are_all_masked_scores_zero_and_moves_nothing() -> None:
    student, teacher, negatives = rows(2, 3, 1).requires_grad_(), rows(2, 3, 2), rows(5, 3, 3)
    mask = torch.tensor([[True] * 5, [False] * 5])
    value = contrastive_loss(student, teacher, negatives=negatives, negative_mask=mask)
    value.backward()
    alone = contrastive_loss(student[1:], teacher[1:], negatives=negatives)
    assert value.item() == pytest.approx(alone.item() / 2)
    assert student.grad is not None
    assert student.grad[0].abs().max() < 1e-12
    assert student.grad[1].abs().max() > 1e-3


def test_mixed_precision_of_the_two_sides_is_computed_in_the_wider_one() -> None:
    student, teacher = rows(3, 4, 1, torch.float16), rows(3, 4, 2)
    expected = reference.contrastive(student.double().numpy(), teacher.numpy(), 0.05)
    value = contrastive_loss(student, teacher)
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(expected, rel=1e-9)


def test_l2_feature_on_unit_rows_is_similarity_up_to_scale() -> None:
    student, teacher = (torch.nn.functional.normalize(rows(5, 8, seed)) for seed in (1, 2))
    torch.testing.assert_close(
        feature_loss(student, teacher, "l2"), 4 / 8 * similarity_loss(student, teacher)
    )


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan])
def test_a_temperature_that_is_not_positive_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        contrastive_loss(rows(2, 3, 0), rows(2, 3, 1), temperature)


def test_unknown_options_and_misshapen_masks_are_refused() -> None:
    student, teacher = rows(2, 3, 0), rows(2, 3, 1)
    wrong = torch.zeros(3, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="norm"):
        feature_loss(student, teacher, "l3")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mining"):
        hard_negative_loss(student, teacher, mining="best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="negatives"):
        contrastive_loss(student, teacher, negatives=rows(4, 5, 2))
    for call in (
        lambda: contrastive_loss(student, teacher, negative_mask=wrong),
        lambda: contrastive_loss(student, teacher, negatives=rows(4, 3, 2), negative_mask=wrong),
        lambda: hard_negative_loss(student, teacher, negative_mask=wrong),
        lambda: task_loss(student, teacher, 1.0, wrong),
    ):
        with pytest.raises(ValueError, match="negative_mask"):
            call()
