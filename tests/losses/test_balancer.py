"""The balancers against their formulas, their edges and their memory."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.losses import DSMDBalancer, StaticBalancer, build_balancer
from compressor.losses.balancer import EPSILON, MAX_MAGNITUDE
from compressor.recipe.losses import DSMDBalance, DSMDRatesBalance, StaticBalance

NAMES = ("contrastive", "feature", "similarity", "hard_negative")
ordinary = st.floats(0.01, 50.0)
histories = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.lists(ordinary, min_size=n, max_size=n), min_size=2, max_size=5)
)
few = settings(max_examples=25, deadline=None)


def tensors(values: list[float], dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value, dtype=dtype) for name, value in zip(NAMES, values, strict=False)}


def reference_weights(history: list[list[float]], k: float, temperature: float, rates: str) -> list[float]:
    """The last step's weights, by the formulas of arXiv 2404.10838 with ε in every division."""
    before: list[float] | None = None
    weights: list[float] = []
    for losses in history:
        largest = max(losses)
        magnitudes = [largest / (loss + EPSILON) for loss in losses]
        compared = losses if rates == "raw" else [a * x for a, x in zip(magnitudes, losses, strict=True)]
        if before is None:
            weights = [1.0] * len(losses)
        else:
            exponentials = np.exp(
                [now / (old + EPSILON) / temperature for now, old in zip(compared, before, strict=True)]
                - np.max(
                    [now / (old + EPSILON) / temperature for now, old in zip(compared, before, strict=True)]
                )
            )
            shares = exponentials / exponentials.sum()
            weights = [k * float(share) * a for share, a in zip(shares, magnitudes, strict=True)]
        before = compared
    return weights


@few
@given(histories, st.floats(0.5, 20), st.floats(0.5, 4), st.sampled_from(["published", "raw"]))
def test_dsmd_weights_are_the_formulas(
    history: list[list[float]], k: float, temperature: float, rates: str
) -> None:
    balancer = DSMDBalancer(k, temperature, rates)  # type: ignore[arg-type]
    for losses in history:
        total, weights = balancer.combine(tensors(losses))
    expected = reference_weights(history, k, temperature, rates)
    assert list(weights.values()) == pytest.approx(expected, rel=1e-5, abs=1e-300)
    assert total.item() == pytest.approx(
        sum(w * x for w, x in zip(weights.values(), history[-1], strict=True)), rel=1e-9
    )


@few
@given(histories, st.floats(0.5, 20), st.floats(0.5, 4))
def test_the_published_balancer_only_equalises_magnitudes(
    history: list[list[float]], k: float, temperature: float
) -> None:
    balancer = DSMDBalancer(k, temperature)
    for step, losses in enumerate(history):
        _, weights = balancer.combine(tensors(losses))
        if step == 0:
            assert set(weights.values()) == {1.0}
            continue
        for weight, loss in zip(weights.values(), losses, strict=True):
            assert weight == pytest.approx(k / len(losses) * max(losses) / (loss + EPSILON), rel=1e-9)
            assert weight * loss == pytest.approx(k / len(losses) * max(losses), rel=1e-5)


def test_raw_rates_favour_the_loss_that_falls_more_slowly() -> None:
    balancer = DSMDBalancer(rates="raw")
    balancer.combine(tensors([1.0, 1.0]))
    _, weights = balancer.combine(tensors([0.9, 0.5]))
    assert weights["contrastive"] * 0.9 > weights["feature"] * 0.5
    _, published = DSMDBalancer().combine(tensors([1.0, 1.0]))
    assert published == {"contrastive": 1.0, "feature": 1.0}


@pytest.mark.parametrize("rates", ["published", "raw"])
def test_a_hinge_loss_of_zero_has_a_capped_weight_and_returns_quietly(rates: str) -> None:
    balancer = DSMDBalancer(rates=rates)  # type: ignore[arg-type]
    for hinge in (0.2, 0.0, 0.0):
        total, weights = balancer.combine(tensors([4.0, hinge]))
        assert total.isfinite()
    assert weights["feature"] <= 10 * MAX_MAGNITUDE
    assert weights["feature"] >= MAX_MAGNITUDE
    _, weights = balancer.combine(tensors([4.0, 0.1]))
    assert weights["contrastive"] == pytest.approx(10 / 2)
    assert weights["feature"] == pytest.approx(10 / 2 * 40)


@pytest.mark.parametrize("rates", ["published", "raw"])
def test_all_losses_of_zero_give_a_finite_total(rates: str) -> None:
    balancer = DSMDBalancer(rates=rates)  # type: ignore[arg-type]
    for _ in range(3):
        total, weights = balancer.combine(tensors([0.0, 0.0]))
        assert total == 0
        assert all(math.isfinite(weight) for weight in weights.values())


@pytest.mark.parametrize("rates", ["published", "raw"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("first", [True, False])
def test_a_non_finite_loss_shows_in_the_total_and_poisons_nothing(
    rates: str, bad: float, first: bool
) -> None:
    disturbed, calm = DSMDBalancer(rates=rates), DSMDBalancer(rates=rates)  # type: ignore[arg-type]
    before = [] if first else [[3.0, 0.5, 0.2]]
    for losses in before:
        disturbed.combine(tensors(losses))
        calm.combine(tensors(losses))
    total, weights = disturbed.combine(tensors([2.0, 0.4, bad]))
    _, expected = calm.combine(tensors([2.0, 0.4]))
    assert not total.isfinite()
    assert weights == {**expected, "similarity": 1.0}
    assert all(math.isfinite(x) for x in disturbed.state_dict()["before"].values())
    total, _ = disturbed.combine(tensors([2.0, 0.4, 0.2]))
    assert total.isfinite()


def test_only_the_losses_carry_gradients() -> None:
    parameter = torch.tensor(2.0, requires_grad=True)
    balancer = DSMDBalancer()
    for _ in range(2):
        total, weights = balancer.combine({"a": parameter * 3, "b": parameter**2})
    (gradient,) = torch.autograd.grad(total, parameter)
    assert gradient.item() == pytest.approx(weights["a"] * 3 + weights["b"] * 4)


@few
@given(histories, st.sampled_from(["published", "raw"]), st.integers(0, 3))
def test_a_resumed_balancer_gives_the_very_same_weights(
    history: list[list[float]], rates: str, steps: int
) -> None:
    running = DSMDBalancer(rates=rates)  # type: ignore[arg-type]
    for losses in history[:steps]:
        running.combine(tensors(losses))
    resumed = DSMDBalancer(rates=rates)  # type: ignore[arg-type]
    resumed.load_state_dict(json.loads(json.dumps(running.state_dict())))
    for losses in history[steps:] or history:
        first, second = running.combine(tensors(losses)), resumed.combine(tensors(losses))
        assert first[1] == second[1]
        assert torch.equal(first[0], second[0])


def test_static_is_the_plain_sum() -> None:
    balancer = StaticBalancer()
    total, weights = balancer.combine(tensors([1.0, 2.5, 0.25]))
    assert total.item() == 3.75
    assert set(weights.values()) == {1.0}
    balancer.load_state_dict(json.loads(json.dumps(balancer.state_dict())))


def test_the_recipe_names_the_balancer() -> None:
    assert isinstance(build_balancer(StaticBalance()), StaticBalancer)
    published = build_balancer(DSMDBalance(kind="dsmd", k=7, temperature=2))
    raw = build_balancer(DSMDRatesBalance(kind="dsmd_rates"))
    assert isinstance(published, DSMDBalancer)
    assert isinstance(raw, DSMDBalancer)
    assert (published.rates, published.k, published.temperature) == ("published", 7, 2)
    assert (raw.rates, raw.k, raw.temperature) == ("raw", 10, 1)


def test_what_cannot_be_balanced_is_refused() -> None:
    for balancer in (StaticBalancer(), DSMDBalancer()):
        with pytest.raises(ValueError, match="no losses"):
            balancer.combine({})
        with pytest.raises(ValueError, match="'feature' must be a scalar"):
            balancer.combine({"feature": torch.ones(2)})
    with pytest.raises(ValueError, match="rates"):
        DSMDBalancer(rates="both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="above 0"):
        DSMDBalancer(k=0)
    with pytest.raises(ValueError, match="not the state"):
        DSMDBalancer().load_state_dict(DSMDBalancer(rates="raw").state_dict())
    with pytest.raises(ValueError, match="no state"):
        StaticBalancer().load_state_dict(DSMDBalancer().state_dict())
