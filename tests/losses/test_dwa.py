"""Dynamic weight averaging against its formula over the whole history."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.losses.balancer import DWABalancer
from compressor.losses.balancer.dwa import MAX_RATE
from tests.losses.balancing import weigh

few = settings(max_examples=30, deadline=None)
histories = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.lists(st.floats(0.01, 50), min_size=n, max_size=n), min_size=1, max_size=30)
)


def reference_weights(history: list[list[float]], window: int, temperature: float) -> list[list[float]]:
    """The weights of every step, each from the history before it."""
    everything = []
    for step in range(len(history)):
        t, n = step // window, len(history[0])
        exponentials = np.ones(n)
        for i in range(n):
            rate = 1.0
            if t >= 2:
                last = [history[s][i] for s in range((t - 1) * window, t * window)]
                before = [history[s][i] for s in range((t - 2) * window, (t - 1) * window)]
                rate = min(float(np.mean(last) / np.mean(before)), MAX_RATE)
            exponentials[i] = math.exp(rate / temperature)
        everything.append([n * float(x) / float(exponentials.sum()) for x in exponentials])
    return everything


@few
@given(histories, st.integers(1, 5), st.floats(0.3, 5))
def test_weights_are_the_formula_in_every_step(
    history: list[list[float]], window: int, temperature: float
) -> None:
    balancer = DWABalancer(window, temperature)
    weights = [weigh(balancer, losses) for losses in history]
    for got, expected in zip(weights, reference_weights(history, window, temperature), strict=True):
        assert got == pytest.approx(expected, rel=1e-9)
        assert sum(got) == pytest.approx(len(got))


def test_a_loss_that_stands_still_gains_over_one_that_halves_as_the_docstring_says() -> None:
    balancer = DWABalancer(window=3)
    for value in (1.0, 0.5):
        for _ in range(3):
            weigh(balancer, [1.0, value])
    assert weigh(balancer, [1.0, 0.5]) == pytest.approx([1.124, 0.876], abs=1e-3)


def test_a_hinge_loss_that_returns_from_almost_nothing_starves_no_other() -> None:
    balancer = DWABalancer(window=1)
    for hinge in (1e-5, 1.0, 1.0):
        weights = weigh(balancer, [1.0, hinge, 1.0])
    assert weights[1] > 1 > weights[0] > 0.4
    for hinge in (0.0, 1.0, 1.0):
        weights = weigh(balancer, [1.0, hinge, 1.0])
    assert weights == pytest.approx([1.0, 1.0, 1.0])


def test_steps_in_which_a_loss_is_not_finite_are_left_out_of_its_mean() -> None:
    balancer = DWABalancer(window=2)
    for value in (4.0, math.nan, 1.0, math.inf):
        weigh(balancer, [1.0, value])
    expected = np.exp(np.array([1.0, 0.25]) / 2)
    for value in (math.nan, math.nan, 1.0):
        assert weigh(balancer, [1.0, value]) == pytest.approx(2 * expected / expected.sum())


def test_windows_and_temperatures_that_cannot_work_are_refused() -> None:
    for window, temperature in ((0, 2.0), (5, 0.0), (5, math.nan)):
        with pytest.raises(ValueError, match="window must be at least 1"):
            DWABalancer(window, temperature)
    with pytest.raises(ValueError, match="windows of 5 steps, not of 6"):
        DWABalancer(6).load_state_dict(DWABalancer(5).state_dict())
