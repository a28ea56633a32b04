"""What every balancer keeps to; the static sum and DSMD against their formulas, edges and memory."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.losses import Balancer, DSMDBalancer, StaticBalancer, build_balancer
from compressor.losses.balancer import DWABalancer, GradNormBalancer, UncertaintyBalancer
from compressor.losses.balancer.base import EPSILON
from compressor.losses.balancer.dsmd import MAX_MAGNITUDE
from compressor.recipe.losses import (
    BalancerConfig,
    DSMDBalance,
    DSMDRatesBalance,
    DWABalance,
    GradNormBalance,
    StaticBalance,
    UncertaintyBalance,
)
from tests.losses.balancing import EVERY, sloped, tensors, weigh

ordinary = st.floats(0.01, 50.0)
histories = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.lists(ordinary, min_size=n, max_size=n), min_size=2, max_size=5)
)
steps_of_three = st.lists(
    st.tuples(
        st.lists(ordinary, min_size=3, max_size=3), st.lists(st.floats(0.01, 100), min_size=3, max_size=3)
    ),
    min_size=2,
    max_size=6,
)
few = settings(max_examples=25, deadline=None)
every = pytest.mark.parametrize("kind", EVERY)


def reference_weights(history: list[list[float]], k: float, temperature: float, rates: str) -> list[float]:
    """The last step's weights, by the formulas of arXiv 2404.10838 with ε in every division, and in adjusted
    losses as in their divisors."""
    before: list[float] | None = None
    weights: list[float] = []
    for losses in history:
        largest = max(losses)
        magnitudes = [largest / (loss + EPSILON) for loss in losses]
        adjusted = [a * (x + EPSILON) for a, x in zip(magnitudes, losses, strict=True)]
        compared = losses if rates == "raw" else adjusted
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
    uncertainty = build_balancer(UncertaintyBalance(kind="uncertainty", lr=0.5))
    assert isinstance(uncertainty, UncertaintyBalancer)
    assert uncertainty.lr == 0.5
    gradnorm = build_balancer(GradNormBalance(kind="gradnorm", alpha=0.5, lr=0.25))
    assert isinstance(gradnorm, GradNormBalancer)
    assert (gradnorm.alpha, gradnorm.lr) == (0.5, 0.25)
    dwa = build_balancer(DWABalance(kind="dwa", window=7, temperature=3))
    assert isinstance(dwa, DWABalancer)
    assert (dwa.window, dwa.temperature) == (7, 3)


@pytest.mark.parametrize(
    ("config", "balancer"),
    [
        (UncertaintyBalance(kind="uncertainty"), UncertaintyBalancer()),
        (GradNormBalance(kind="gradnorm"), GradNormBalancer()),
        (DWABalance(kind="dwa"), DWABalancer()),
    ],
)
def test_the_recipe_has_the_defaults_of_the_balancer(config: BalancerConfig, balancer: Balancer) -> None:
    assert vars(build_balancer(config)) == vars(balancer)


@every
@few
@given(steps=steps_of_three)
def test_gradients_are_those_of_the_weighted_sum(
    kind: str, steps: list[tuple[list[float], list[float]]]
) -> None:
    balancer = EVERY[kind]()
    for values, norms in steps:
        losses, leaf = sloped(values, norms)
        total, weights = balancer.combine(losses, [leaf])
        total.backward()
        assert leaf.grad is not None
        expected = [weight * norm for weight, norm in zip(weights.values(), norms, strict=True)]
        assert leaf.grad.norm(dim=1).tolist() == pytest.approx(expected, rel=1e-9)


@every
@few
@given(steps=steps_of_three, cut=st.integers(0, 6))
def test_a_balancer_resumed_from_json_gives_the_very_same_totals_and_weights(
    kind: str, steps: list[tuple[list[float], list[float]]], cut: int
) -> None:
    running, resumed = EVERY[kind](), EVERY[kind]()
    for values, norms in steps[:cut]:
        weigh(running, values, norms)
    resumed.load_state_dict(json.loads(json.dumps(running.state_dict(), sort_keys=True)))
    for values, norms in steps:
        losses, leaf = sloped(values, norms)
        (one, weights), (other, again) = running.combine(losses, [leaf]), resumed.combine(losses, [leaf])
        assert torch.equal(one, other)
        assert weights == again
    assert resumed.state_dict() == running.state_dict()


@every
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_loss_that_is_not_finite_shows_in_the_total_and_changes_no_other_weight(
    kind: str, bad: float, at: int
) -> None:
    """The weights go on as if the loss had not been there in that step."""
    disturbed, calm = EVERY[kind](), EVERY[kind]()
    for step in range(6):
        losses, leaf = sloped([3.0 / (step + 1), 0.5, 0.2 + 0.1 * step], [5.0, 0.3, 1.0])
        without = dict(losses)
        if step == at:
            losses["similarity"] = losses["similarity"] * bad
            del without["similarity"]
        total, weights = disturbed.combine(losses, [leaf])
        _, expected = calm.combine(without, [leaf])
        assert total.isfinite() == (step != at)
        assert all(math.isfinite(weight) and weight > 0 for weight in weights.values())
        if step != at:
            assert weights == expected
    assert json.dumps(disturbed.state_dict(), allow_nan=False) == json.dumps(calm.state_dict())


@every
@pytest.mark.parametrize("values", [[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [-1.0, 2.0, 1e30]])
def test_losses_of_zero_below_zero_and_far_too_large_leave_every_weight_finite_and_not_negative(
    kind: str, values: list[float]
) -> None:
    balancer = EVERY[kind]()
    for norms in ([1.0, 1.0, 1.0], [0.0, 1e-200, 1e-3], [1e-3, 1.0, 1e20]) * 20:
        weights = weigh(balancer, values, norms)
        assert all(0 <= weight < math.inf for weight in weights)
    assert weigh(balancer, [1.0, 1.0, 1.0])


@every
def test_the_first_weights_are_one(kind: str) -> None:
    assert weigh(EVERY[kind](), [4.0, 0.1, 0.02], [3.0, 0.2, 10.0]) == [1.0, 1.0, 1.0]


@every
def test_the_state_of_another_balancer_is_refused(kind: str) -> None:
    balancer = EVERY[kind]()
    for other, make in EVERY.items():
        if other != kind:
            with pytest.raises(ValueError, match=r"state"):
                balancer.load_state_dict(make().state_dict())


@every
def test_what_is_no_loss_is_refused(kind: str) -> None:
    leaf = torch.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match="no losses"):
        EVERY[kind]().combine({}, [leaf])
    with pytest.raises(ValueError, match=r"'feature' must be a scalar"):
        EVERY[kind]().combine({"feature": 2 * leaf}, [leaf])


def test_static_dsmd_and_their_options_are_checked() -> None:
    with pytest.raises(ValueError, match="rates"):
        DSMDBalancer(rates="both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="above 0"):
        DSMDBalancer(k=0)
    with pytest.raises(ValueError, match="not the state"):
        DSMDBalancer().load_state_dict(DSMDBalancer(rates="raw").state_dict())
    with pytest.raises(ValueError, match="no state"):
        StaticBalancer().load_state_dict(DSMDBalancer().state_dict())
