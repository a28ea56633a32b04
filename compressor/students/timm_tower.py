"""An image tower by its timm name."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from compressor.errors import ModelError
from compressor.recipe.models import TimmImageTower
from compressor.students.weights import load_weights, read_weights

_RESERVED = frozenset(
    {
        "cache_dir",
        "checkpoint_path",
        "features_only",
        "num_classes",
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
    }
)
"""Options of `timm.create_model` that fetch or read files, or change what the tower returns."""


class TimmTower(nn.Module):
    """A timm model without its classifier: (B, 3, size, size) -> (B, width)."""

    def __init__(self, section: TimmImageTower) -> None:
        super().__init__()
        self.freeze_batchnorm = section.freeze_batchnorm
        self.model = _create(section)
        self.width = _feature_width(self.model, section)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Normalised pixels -> pooled features."""
        features: Tensor = self.model(pixel_values)
        return features

    def train(self, mode: bool = True) -> TimmTower:
        """As always, except that frozen BatchNorm layers stay in evaluation mode."""
        super().train(mode)
        if self.freeze_batchnorm:
            hold_batchnorm(self)
        return self


def hold_batchnorm(module: nn.Module) -> None:
    """Put every BatchNorm layer into evaluation mode: its running statistics are used and no longer move."""
    for layer in module.modules():
        if isinstance(layer, _BatchNorm):
            layer.eval()


def build_timm_tower(section: TimmImageTower, *, weights: bool = True) -> TimmTower:
    """The tower of a recipe, with the weights it names unless `weights` is false.

    Raises `ModelError` for an unknown name, an option timm refuses, or weights that do not fit, and
    `MissingResourceError` for a weights file that is not there.
    """
    tower = TimmTower(section)
    if weights and section.weights is not None:
        load_weights(tower.model, _fitting(tower.model, section.weights), section.weights, section.name)
    if weights and section.weights_overlay is not None:
        overlay = read_weights(section.weights_overlay)
        load_weights(tower.model, overlay, section.weights_overlay, section.name, partial=True)
    return tower


def _create(section: TimmImageTower) -> nn.Module:
    if not timm.is_model(section.name) or ":" in section.name:
        close = difflib.get_close_matches(section.name.split(".")[0], timm.list_models(), n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ModelError(f"timm has no model named '{section.name}'{hint}")
    reserved = sorted(_RESERVED & section.options.keys())
    if reserved:
        raise ModelError(
            f"student.image.options may not set {', '.join(reserved)}: use student.image.weights"
        )
    options: dict[str, Any] = dict(section.options)
    known = timm.get_pretrained_cfg(section.name, allow_unregistered=True)
    if known is not None and known.fixed_input_size:
        options.setdefault("img_size", section.input.size)
    try:
        return timm.create_model(section.name, pretrained=False, num_classes=0, **options)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise ModelError(f"timm cannot build '{section.name}' with options {options}: {error}") from error


def _feature_width(model: nn.Module, section: TimmImageTower) -> int:
    """Width of the pooled features, found by running an empty picture: attributes differ between families."""
    device = next(model.parameters()).device
    pixels = torch.zeros(1, 3, section.input.size, section.input.size, device=device)
    training = model.training
    try:
        with torch.no_grad():
            features = model.eval()(pixels)
    except (RuntimeError, AssertionError, ValueError) as error:
        size = section.input.size
        raise ModelError(f"'{section.name}' does not take pictures of {size} pixels: {error}") from error
    model.train(training)
    if not isinstance(features, Tensor) or features.ndim != 2:
        raise ModelError(f"'{section.name}' returns no pooled features; choose a classification model")
    return features.shape[1]


def _fitting(model: nn.Module, path: Path) -> dict[str, Tensor]:
    """Weights without the classifier's rows, with position embeddings brought to the tower's grid."""
    config: dict[str, Any] = getattr(model, "pretrained_cfg", {}) or {}
    classifier = config.get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    own = model.state_dict()
    heads = tuple(f"{name}." for name in names)
    tensors = {k: v for k, v in read_weights(path).items() if k in own or not k.startswith(heads)}
    positions = tensors.get("pos_embed")
    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    if positions is not None and grid is not None and "pos_embed" in own:
        embedded = not getattr(model, "no_embed_class", False)
        prefix = int(getattr(model, "num_prefix_tokens", 0)) if embedded else 0
        if positions.shape[-1] == own["pos_embed"].shape[-1] and positions.shape != own["pos_embed"].shape:
            tensors["pos_embed"] = resample_abs_pos_embed(positions, list(grid), num_prefix_tokens=prefix)
    return tensors
