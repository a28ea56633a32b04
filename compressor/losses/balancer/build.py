"""From the recipe's `distill.balancer` to a balancer."""

from __future__ import annotations

from compressor.losses.balancer.base import Balancer
from compressor.losses.balancer.dsmd import DSMDBalancer
from compressor.losses.balancer.dwa import DWABalancer
from compressor.losses.balancer.gradnorm import GradNormBalancer
from compressor.losses.balancer.static import StaticBalancer
from compressor.losses.balancer.uncertainty import UncertaintyBalancer
from compressor.recipe.losses import (
    BalancerConfig,
    DSMDBalance,
    DSMDRatesBalance,
    DWABalance,
    GradNormBalance,
    UncertaintyBalance,
)


def build_balancer(config: BalancerConfig) -> Balancer:
    """The balancer that `distill.balancer` names."""
    match config:
        case DSMDBalance():
            return DSMDBalancer(config.k, config.temperature, "published")
        case DSMDRatesBalance():
            return DSMDBalancer(config.k, config.temperature, "raw")
        case UncertaintyBalance():
            return UncertaintyBalancer(config.lr)
        case GradNormBalance():
            return GradNormBalancer(config.alpha, config.lr)
        case DWABalance():
            return DWABalancer(config.window, config.temperature)
    return StaticBalancer()
