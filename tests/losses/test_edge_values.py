"""Values at which a formula would overflow or turn its sign: refused, or of no effect."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from compressor.losses import (
    DSMDBalancer,
    affinity_loss,
    contrastive_loss,
    gradient_loss,
    icl_loss,
    logit_loss,
)
from compressor.losses.build import alignment_factor
from compressor.recipe.losses import AMADLoss

ROWS = torch.eye(3)
LOSSES: dict[str, Callable[[float], Tensor]] = {
    "affinity": lambda temperature: affinity_loss(ROWS, ROWS, ROWS, ROWS, temperature),
    "affinity of the teacher": lambda temperature: affinity_loss(ROWS, ROWS, ROWS, ROWS, 1.0, temperature),
    "contrastive": lambda temperature: contrastive_loss(ROWS, ROWS, temperature),
    "gradient": lambda temperature: gradient_loss(ROWS, ROWS, ROWS, ROWS, temperature),
    "icl": lambda temperature: icl_loss(ROWS, ROWS, ROWS, ROWS, temperature),
    "logits": lambda temperature: logit_loss(ROWS, ROWS, temperature),
}


@pytest.mark.parametrize("temperature", [1e-300, 1e-40, 1e300, float("inf")])
@pytest.mark.parametrize("name", LOSSES)
def test_a_temperature_that_float32_does_not_survive_is_refused(name: str, temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be from 1e-06 to 1e"):
        LOSSES[name](temperature)


@pytest.mark.parametrize("temperature", [1e-6, 1e6])
@pytest.mark.parametrize("name", LOSSES)
def test_the_extreme_temperatures_are_finite(name: str, temperature: float) -> None:
    assert torch.isfinite(LOSSES[name](temperature))


@pytest.mark.parametrize("rates", ["published", "raw"])
def test_dsmd_never_turns_the_sign_of_a_loss(rates: str) -> None:
    balancer = DSMDBalancer(rates=rates)  # type: ignore[arg-type]
    for _ in range(3):
        _, weights = balancer.combine({"one": torch.tensor(-1.0), "other": torch.tensor(-2.0)})
    assert all(weight >= 0 for weight in weights.values())


@pytest.mark.parametrize("alignment", [0.0, float("nan"), float("inf")])
def test_a_matched_alpha_waits_for_a_step_in_which_maps_differ(alignment: float) -> None:
    config = AMADLoss(kind="amad", alpha="match_initial_scale")
    matched, others = torch.tensor(torch.nan), {"task": torch.tensor(3.0)}
    assert alignment_factor(config, matched, torch.tensor(alignment), others) == 1
    assert torch.isnan(matched)
    assert float(alignment_factor(config, matched, torch.tensor(0.5), others)) == 6
    assert float(alignment_factor(config, matched, torch.tensor(0.1), others)) == 6
