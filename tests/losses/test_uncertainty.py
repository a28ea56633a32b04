"""Learned log-variances against an optimiser that differentiates the objective itself."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.losses.balancer import UncertaintyBalancer
from compressor.losses.balancer.uncertainty import MAX_WEIGHT
from tests.losses.balancing import NAMES, tensors, weigh

few = settings(max_examples=20, deadline=None)
histories = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.lists(st.floats(0, 60), min_size=n, max_size=n), min_size=1, max_size=40)
)


@few
@given(histories, st.floats(0.001, 1))
def test_totals_and_weights_are_those_of_gradient_descent_on_the_objective(
    history: list[list[float]], lr: float
) -> None:
    """Autograd and clipped SGD on exp(-s)·L + s, bounded where weights reach their cap."""
    balancer = UncertaintyBalancer(lr)
    s = torch.zeros(len(history[0]), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([s], lr=lr)
    for losses in history:
        total, weights = balancer.combine(tensors(losses))
        objective = sum(torch.exp(-s[i]) * loss + s[i] for i, loss in enumerate(losses))
        assert isinstance(objective, torch.Tensor)
        assert total.item() == pytest.approx(objective.item(), rel=1e-9, abs=1e-9)
        assert list(weights.values()) == pytest.approx(torch.exp(-s).tolist(), rel=1e-9)
        optimizer.zero_grad()
        objective.backward()
        torch.nn.utils.clip_grad_value_([s], 1.0)
        optimizer.step()
        with torch.no_grad():
            s.clamp_(min=-math.log(MAX_WEIGHT))


@few
@given(st.lists(st.floats(0.002, 100), min_size=1, max_size=4))
def test_constant_losses_end_with_a_weighted_value_of_one(losses: list[float]) -> None:
    balancer = UncertaintyBalancer(lr=0.5)
    for _ in range(100):
        weights = weigh(balancer, losses)
    assert [weight * loss for weight, loss in zip(weights, losses, strict=True)] == pytest.approx(
        [1.0] * len(losses), rel=1e-6
    )


def test_a_small_loss_comes_to_half_of_its_weight_when_the_docstring_says() -> None:
    balancer = UncertaintyBalancer()
    weights = [weigh(balancer, [0.01])[0] for _ in range(231)]
    assert weights[-1] == pytest.approx(50, rel=0.05)


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_weights_of_losses_of_zero_and_below_stop_at_the_cap_and_come_back(value: float) -> None:
    balancer = UncertaintyBalancer(lr=1.0)
    for _ in range(20):
        weights = weigh(balancer, [value, 1.0])
    assert weights == pytest.approx([MAX_WEIGHT, 1.0])
    for _ in range(20):
        weights = weigh(balancer, [0.5, 1.0])
    assert weights == pytest.approx([2.0, 1.0], rel=0.01)


def test_one_outlier_moves_a_weight_by_no_more_than_one_step() -> None:
    balancer = UncertaintyBalancer(lr=0.1)
    weigh(balancer, [1e30, 1.0])
    assert weigh(balancer, [1.0, 1.0]) == pytest.approx([math.exp(-0.1), 1.0])


def test_a_loss_of_its_own_pace_is_not_drawn_along_by_the_others() -> None:
    together, alone = UncertaintyBalancer(), UncertaintyBalancer()
    for step in range(10):
        both, one = weigh(together, [2.0 - 0.1 * step, 30.0]), weigh(alone, [2.0 - 0.1 * step])
        assert both[0] == one[0]
    assert set(together.state_dict()["log_variances"]) == set(NAMES[:2])


@pytest.mark.parametrize("lr", [0.0, -1.0, 1.5, math.nan])
def test_a_step_that_cannot_work_is_refused(lr: float) -> None:
    with pytest.raises(ValueError, match="lr must be above 0"):
        UncertaintyBalancer(lr)
