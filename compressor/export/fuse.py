"""Blocks that are several branches in training and one convolution in use: timm's, folded before export."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

AGREEMENT = 1e-3
"""Largest difference between the outputs before and after, relative to the largest output."""
_METHODS = ("fuse", "reparameterize", "switch_to_deploy")
_LIBRARY = "timm."


def foldable(module: nn.Module) -> bool:
    """True where a block of timm in it can be folded: of MobileOne, RepViT, FastViT, RepVGG and more."""
    return any(
        type(part).__module__.startswith(_LIBRARY) and any(hasattr(part, method) for method in _METHODS)
        for part in module.modules()
    )


def folded(module: nn.Module, rows: Tensor) -> nn.Module:
    """A copy of `module` with such blocks folded (arXiv 2101.03697); the module itself where there are none.

    Convolutions that run side by side are added up, BatchNorm becomes part of the weights before it: the same
    function with fewer operations. `rows` are inputs on which both are compared. A model that cannot be
    folded, or whose folding changes what comes out, is taken as it is, and the log says so. The module
    must be on the CPU and in evaluation mode, and is not changed.
    """
    if not foldable(module):
        return module
    from timm.utils import reparameterize_model

    try:
        with torch.no_grad():
            copy = reparameterize_model(module).eval()
            before, after = module(rows), copy(rows)
    except Exception as error:  # whatever a model's own method raises, the model itself can still be exported
        log.warning("its blocks cannot be folded and are left as they are: %s", error)
        return module
    difference = float((before - after).abs().max() / before.abs().max().clamp(min=1e-12))
    if not difference <= AGREEMENT:
        log.warning("folding its blocks changes the output by %.2g; they are left as they are", difference)
        return module
    log.info("folded its blocks: %d parameters became %d", _parameters(module), _parameters(copy))
    return copy


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
