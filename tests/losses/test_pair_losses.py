"""What all losses over pairs, relations and logits share."""

from __future__ import annotations

import math

import pytest
import torch

from tests.losses.pair_cases import PAIR_LOSSES, PairLoss, four

ALL = pytest.mark.parametrize("loss", PAIR_LOSSES.values(), ids=PAIR_LOSSES.keys())
CONSTANT_TEACHER = ("logits", "affinity_distributions")


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_gradients_equal_finite_differences(name: str) -> None:
    v, t, V, T = four(4, 1)
    loss = PAIR_LOSSES[name]
    student = (v.requires_grad_(), t.requires_grad_())
    assert torch.autograd.gradcheck(lambda v, t: loss(v, t, V, T), student)
    if name not in CONSTANT_TEACHER:
        teacher = (V.requires_grad_(), T.requires_grad_())
        assert torch.autograd.gradcheck(lambda V, T: loss(v.detach(), t.detach(), V, T), teacher)


@ALL
def test_order_of_the_samples_does_not_matter(loss: PairLoss) -> None:
    sides, order = four(6, 3), torch.tensor([4, 2, 0, 5, 1, 3])
    torch.testing.assert_close(loss(*(side[order] for side in sides)), loss(*sides))


@ALL
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_inputs_are_computed_in_float32(loss: PairLoss, dtype: torch.dtype) -> None:
    sides = four(6, 7, 16, 16, dtype)
    student = [side.requires_grad_() for side in sides[:2]]
    value = loss(*sides)
    value.backward()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(*(side.detach().float() for side in sides)))
    for side in student[:1]:
        assert side.grad is not None
        assert side.grad.dtype == dtype
        assert side.grad.isfinite().all()


@ALL
def test_autocast_does_not_lower_the_precision(loss: PairLoss) -> None:
    sides = four(8, 9, 32, 32, torch.float32)
    student = sides[0].requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(*sides)
    assert value.dtype == torch.float32
    expected = loss(*sides)
    assert torch.equal(value, expected)
    torch.testing.assert_close(
        *(torch.autograd.grad(x, student)[0] for x in (value, expected)), rtol=0, atol=0
    )


@pytest.mark.parametrize("name", [name for name in PAIR_LOSSES if not name.startswith("gram")])
def test_zero_rows_huge_rows_and_tiny_rows_stay_finite(name: str) -> None:
    sides = four(5, 11, dtype=torch.float32)
    sides[0][0] = sides[1][0] = sides[2][1] = sides[3][1] = 0
    sides[0][2] *= 1e-30
    sides[0][3] *= 1e15
    student = [side.requires_grad_() for side in sides[:2]]
    value = PAIR_LOSSES[name](*sides)
    value.backward()
    assert value.isfinite()
    for side in student:
        assert side.grad is not None
        assert side.grad.isfinite().all()


@ALL
def test_rows_of_zeros_stay_finite(loss: PairLoss) -> None:
    sides = [torch.zeros_like(side) for side in four(4, 11)]
    student = [side.requires_grad_() for side in sides[:2]]
    value = loss(*sides)
    value.backward()
    assert value.isfinite()
    for side in student:
        assert side.grad is not None
        assert side.grad.isfinite().all()


@ALL
@pytest.mark.parametrize("size", [0, 1])
def test_one_row_or_none_gives_a_finite_value_with_a_graph(loss: PairLoss, size: int) -> None:
    sides = four(size, 13)
    student = [side.requires_grad_() for side in sides[:2]]
    value = loss(*sides)
    value.backward()
    assert value.isfinite()
    for side in student:
        assert side.grad is not None
        assert side.grad.isfinite().all()
    assert size == 1 or value == 0


@pytest.mark.parametrize(
    "name", [name for name in PAIR_LOSSES if name.startswith(("affinity", "icl", "gradient", "rkd"))]
)
def test_one_row_has_nothing_to_be_compared_with_and_scores_zero(name: str) -> None:
    assert PAIR_LOSSES[name](*four(1, 15)).item() == pytest.approx(0, abs=1e-20)


@ALL
@pytest.mark.parametrize("side", [0, 1])
def test_nan_in_the_embeddings_shows_in_the_loss(loss: PairLoss, side: int) -> None:
    sides = four(4, 17)
    sides[side][2, 1] = math.nan
    assert loss(*sides).isnan()


@pytest.mark.parametrize("name", [name for name in PAIR_LOSSES if name != "affinity_distributions"])
def test_numbers_of_rows_that_differ_are_refused(name: str) -> None:
    v, t, V, T = four(4, 19)
    with pytest.raises(ValueError, match=r"\((B|\.\.\.), (D|E|C)\)"):
        PAIR_LOSSES[name](v, t, V[:3], T[:3])


@pytest.mark.parametrize(
    "name", ["affinity", "icl", "gradient", "gram", "gram_batch", "regression", "affinity_distributions"]
)
def test_images_without_their_texts_are_refused(name: str) -> None:
    v, t, V, T = four(4, 19)
    with pytest.raises(ValueError, match=r"\(B, D\)"):
        PAIR_LOSSES[name](v, t[:3], V, T)


@pytest.mark.parametrize(
    "name", ["icl", "gradient", "regression", "regression_normalized", "logits", "masked_feature"]
)
def test_widths_that_differ_are_refused_where_rows_are_compared(name: str) -> None:
    with pytest.raises(ValueError, match="same shape"):
        PAIR_LOSSES[name](*four(4, 21, 3, 5))


@pytest.mark.parametrize("name", ["affinity", "gram", "gram_batch", "rkd_distance"])
def test_relations_may_be_learnt_from_a_teacher_of_another_width(name: str) -> None:
    v, t, V, T = four(5, 23, 3, 7)
    wider = [torch.nn.functional.pad(side, (0, 4)) for side in (v, t)]
    torch.testing.assert_close(PAIR_LOSSES[name](v, t, V, T), PAIR_LOSSES[name](*wider, V, T))


@pytest.mark.parametrize(
    "name", ["affinity", "gradient", "gradient_sum", "gram", "gram_batch", "rkd_distance"]
)
def test_a_student_that_equals_its_teacher_scores_zero_and_is_left_alone(name: str) -> None:
    _, _, V, T = four(6, 25)
    v, t = V.clone().requires_grad_(), T.clone().requires_grad_()
    value = PAIR_LOSSES[name](v, t, V, T)
    value.backward()
    assert 0 <= value.item() < 1e-25
    for side in (v, t):
        assert side.grad is not None
        assert side.grad.abs().max() < 1e-11
