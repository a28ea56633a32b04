"""How several losses become one: the weighted sum, and weights that follow the training."""

from compressor.losses.balancer.base import Balancer
from compressor.losses.balancer.build import build_balancer
from compressor.losses.balancer.dsmd import DSMDBalancer
from compressor.losses.balancer.dwa import DWABalancer
from compressor.losses.balancer.gradnorm import GradNormBalancer
from compressor.losses.balancer.static import StaticBalancer
from compressor.losses.balancer.uncertainty import UncertaintyBalancer

__all__ = [
    "Balancer",
    "DSMDBalancer",
    "DWABalancer",
    "GradNormBalancer",
    "StaticBalancer",
    "UncertaintyBalancer",
    "build_balancer",
]
