"""GradNorm: its norms, its step against the slope of its objective, and where the weights end."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.losses.balancer import GradNormBalancer
from compressor.losses.balancer.gradnorm import MAX_PROGRESS, gradient_norms
from tests.losses.balancing import NAMES, sloped, weigh

few = settings(max_examples=25, deadline=None)


def of_n(low: float, high: float) -> st.SearchStrategy[list[list[float]]]:
    """Three lists of two to four numbers."""
    return st.integers(2, 4).flatmap(
        lambda n: st.lists(st.lists(st.floats(low, high), min_size=n, max_size=n), min_size=3, max_size=3)
    )


def learned(
    norms: list[float], first: list[float], weights: list[float], **options: float
) -> GradNormBalancer:
    """A balancer in the midst of a training."""
    balancer = GradNormBalancer(**options)
    names = NAMES[: len(norms)]
    balancer.load_state_dict(
        {"weights": dict(zip(names, weights, strict=True)), "first": dict(zip(names, first, strict=True))}
    )
    return balancer


def targets_of(pulls: np.ndarray, progress: np.ndarray, alpha: float) -> np.ndarray:
    """The mean norm times r^α, together as large as all norms are."""
    n = len(pulls)
    powers = [(progress[i] / (sum(progress) / n)) ** alpha for i in range(n)]
    return np.array([sum(pulls) * power / sum(powers) for power in powers])


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(
            st.tuples(st.floats(0.1, 30), st.lists(st.floats(-3, 3), min_size=2, max_size=2)),
            min_size=n,
            max_size=n,
        )
    ),
    st.floats(0, 3),
    st.floats(0.01, 0.5),
)
def test_a_training_of_many_steps_is_the_reference_in_loops(
    bowls: list[tuple[float, list[float]]], alpha: float, lr: float
) -> None:
    """Bowls ½a‖x - c‖² + 1, whose gradient is a(x - c), over 25 steps of descent on their weighted sum."""
    balancer = GradNormBalancer(alpha, lr)
    x = torch.tensor([0.5, -0.25], dtype=torch.float64, requires_grad=True)
    n = len(bowls)
    weights, first = np.ones(n), np.zeros(n)
    for step in range(25):
        losses = {
            NAMES[i]: a / 2 * (x - torch.tensor(c, dtype=torch.float64)).square().sum() + 1
            for i, (a, c) in enumerate(bowls)
        }
        total, got = balancer.combine(losses, [x])
        assert list(got.values()) == pytest.approx(list(weights), rel=1e-7)

        place = x.detach().numpy()
        values, norms = np.zeros(n), np.zeros(n)
        for i, (a, c) in enumerate(bowls):
            values[i] = a / 2 * sum((place[k] - c[k]) ** 2 for k in range(2)) + 1
            norms[i] = a * math.sqrt(sum((place[k] - c[k]) ** 2 for k in range(2)))
        if step == 0:
            first = values
        pulls, progress = weights * norms, np.minimum(values / first, MAX_PROGRESS)
        targets = targets_of(pulls, progress, alpha)
        if np.any(np.abs(pulls - targets) < 1e-9 * pulls) and n > 1:
            return  # which side of its target a weight is on is left to rounding
        if norms.min() == 0:
            return  # such a loss takes no part
        moved = weights * np.exp(-lr * np.sign(pulls - targets) * pulls / pulls.mean())
        weights = n * moved / moved.sum()

        (slope,) = torch.autograd.grad(total, x)
        with torch.no_grad():
            x -= 0.01 * slope / slope.norm().clamp(min=1)


@few
@given(of_n(0.1, 10), st.lists(st.floats(0.2, 3), min_size=4, max_size=4), st.floats(0, 3))
def test_the_step_is_the_slope_of_the_objective_by_finite_differences(
    drawn: list[list[float]], values: list[float], alpha: float
) -> None:
    """In log w, over the mean norm and up to the common factor that keeps the sum."""
    norms, first, weights = drawn
    values = values[: len(norms)]
    weights = [weight * len(weights) / sum(weights) for weight in weights]
    lr = 0.01
    balancer = learned(norms, first, weights, alpha=alpha, lr=lr)
    assert weigh(balancer, values, norms) == pytest.approx(weights)
    after = weigh(balancer, values, norms)

    pulls = np.multiply(weights, norms)
    progress = np.minimum(np.divide(values, first), MAX_PROGRESS)
    targets = targets_of(pulls, progress, alpha)  # held constant, as published
    h = 1e-6
    if np.any(np.abs(pulls - targets) < 10 * h * pulls):
        return  # the kink of an absolute value

    def objective(log_weights: np.ndarray) -> float:
        return sum(
            abs(math.exp(v) * g - target) for v, g, target in zip(log_weights, norms, targets, strict=True)
        )

    log_weights = np.log(weights)
    slopes = [
        (objective(log_weights + h * unit) - objective(log_weights - h * unit)) / (2 * h * pulls.mean())
        for unit in np.eye(len(norms))
    ]
    common = np.log(after) - (log_weights - lr * np.array(slopes))
    assert common == pytest.approx(np.full(len(norms), common[0]), abs=1e-7)
    assert sum(after) == pytest.approx(len(norms))


def test_without_alpha_the_weighted_norms_become_equal_however_far_apart_they_are() -> None:
    balancer, norms = GradNormBalancer(alpha=0.0), [2.0, 0.06, 0.002, 50.0]
    for _ in range(800):
        weights = weigh(balancer, [1.0, 3.0, 0.2, 0.01], norms)
    pulls = [weight * norm for weight, norm in zip(weights, norms, strict=True)]
    assert pulls == pytest.approx([np.mean(pulls)] * 4, rel=0.1)
    assert sum(weights) == pytest.approx(4)


def test_a_loss_that_lags_behind_is_pushed_by_alpha() -> None:
    """Losses at 90 % and 50 % of their first values pull as 0.9^α to 0.5^α."""
    for alpha in (0.5, 1.5, 3.0):
        balancer = GradNormBalancer(alpha)
        weigh(balancer, [1.0, 8.0])
        for _ in range(300):
            slow, fast = weigh(balancer, [0.9, 4.0], [5.0, 1.0])
        assert 5 * slow / fast == pytest.approx((0.9 / 0.5) ** alpha, rel=0.1)
        assert slow + fast == pytest.approx(2)


def test_a_loss_that_lags_far_behind_leaves_the_others_their_share() -> None:
    """One stands still and three fall to a tenth: its published target is 5.4 of the 4 means there are."""
    balancer = GradNormBalancer()
    weigh(balancer, [1.0] * 4)
    for _ in range(2000):
        weights = weigh(balancer, [1.0, 0.1, 0.1, 0.1])
    powers = np.array([1.0, 0.1, 0.1, 0.1]) ** 1.5
    assert weights == pytest.approx(4 * powers / powers.sum(), rel=0.1)


def test_the_unit_of_the_gradients_does_not_matter() -> None:
    one, other = GradNormBalancer(), GradNormBalancer()
    for step in range(20):
        values = [1.0, 2.0 - 0.05 * step, 0.3]
        weights = weigh(one, values, [3.0, 0.1, 1.0]), weigh(other, values, [3e-9, 1e-10, 1e-9])
        assert weights[0] == pytest.approx(weights[1], rel=1e-9)


@pytest.mark.parametrize("norm", [0.0, math.nan, math.inf])
def test_a_gradient_of_zero_or_not_finite_leaves_its_weight_and_the_others_share_theirs(norm: float) -> None:
    balancer, pair = GradNormBalancer(), GradNormBalancer()
    for _ in range(10):
        weights = weigh(balancer, [1.0, 2.0, 3.0], [4.0, 0.5, norm])
        expected = weigh(pair, [1.0, 2.0], [4.0, 0.5])
        assert weights == pytest.approx([*expected, 1.0], rel=1e-12)
        assert weights[2] == 1.0
    assert weights[0] < 1 < weights[1]


def test_a_loss_that_does_not_reach_the_shared_parameters_takes_no_part() -> None:
    elsewhere = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    balancer = GradNormBalancer()
    for _ in range(3):
        losses, leaf = sloped([1.0, 2.0], [4.0, 0.5])
        losses |= {"similarity": elsewhere**2, "hard_negative": torch.tensor(0.0, dtype=torch.float64)}
        total, weights = balancer.combine(losses, [leaf])
    assert weights["similarity"] == weights["hard_negative"] == 1.0
    assert weights["contrastive"] < 1.0
    total.backward()
    assert elsewhere.grad is not None
    assert elsewhere.grad.item() == pytest.approx(6.0)


def test_the_first_loss_above_zero_is_the_measure_and_progress_is_capped() -> None:
    balancer = GradNormBalancer()
    for hinge in (0.0, 1e-9, 1e-5, 7.0):
        weigh(balancer, [2.0, hinge])
    assert balancer.state_dict()["first"] == {"contrastive": 2.0, "feature": 1e-5}
    for _ in range(200):
        weights = weigh(balancer, [2.0, 7.0])
    assert weights[1] / weights[0] == pytest.approx(MAX_PROGRESS**balancer.alpha, rel=0.1)


def test_norms_are_those_of_all_shared_tensors_together() -> None:
    image = torch.tensor([[1.0, 2.0], [0.5, -1.0]], requires_grad=True)
    text = torch.tensor([3.0], requires_grad=True)
    losses = {"both": image.sum() + 2 * text.sum(), "text": text.square().sum(), "none": torch.tensor(1.0)}
    assert gradient_norms(losses, [image, text]) == pytest.approx(
        {"both": math.sqrt(4 + 4), "text": 6.0, "none": 0.0}
    )


def test_gradients_of_no_parameters_are_left_behind() -> None:
    losses, leaf = sloped([1.0, 2.0], [4.0, 0.5])
    GradNormBalancer().combine(losses, (tensor for tensor in [leaf]))
    assert leaf.grad is None


def test_missing_shared_parameters_and_steps_that_cannot_work_are_refused() -> None:
    losses, leaf = sloped([1.0], [1.0])
    for shared in (None, [], [leaf.detach()]):
        with pytest.raises(ValueError, match="needs shared_parameters"):
            GradNormBalancer().combine(losses, shared)
    for lr in (0.0, 1.5, math.nan):
        with pytest.raises(ValueError, match="lr must be above 0"):
            GradNormBalancer(lr=lr)
    for alpha in (-0.1, 11.0, math.nan):
        with pytest.raises(ValueError, match="alpha must be from 0 to 10"):
            GradNormBalancer(alpha=alpha)
