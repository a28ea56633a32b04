"""Locked-image tuning: a model is trained while its image side stays as it is (arXiv 2111.07991)."""

from __future__ import annotations

from typing import Any

from torch import nn


def lock_image(model: nn.Module) -> None:
    """Hold every module that sees pixels: no gradients, and evaluation mode whatever `train()` says.

    In training mode dropout would still blur the pictures, and BatchNorm would follow them. `model` is any
    encoder or generator of this project: it says with `image_prefixes` which modules those are.
    """
    prefixes = model.image_prefixes
    assert isinstance(prefixes, tuple)
    for prefix in prefixes:
        module = model.get_submodule(prefix.removesuffix("."))
        module.requires_grad_(False)
        module.register_forward_pre_hook(_stay)


def _stay(module: nn.Module, inputs: Any) -> None:
    if module.training:
        module.eval()
