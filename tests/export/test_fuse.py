"""Folding: the same embeddings from fewer operations, for every family that has branches in training."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from compressor.export.fuse import foldable, folded
from compressor.export.onnx import export_tower
from compressor.export.pytorch import embed_images
from compressor.runtime.schema import IMAGE_INPUT, IMAGE_OUTPUT
from compressor.runtime.session import Tower

SIDE = 64
FAMILIES: dict[str, dict[str, Any]] = {
    "mobileone_s0": {},
    "repvgg_a0": {},
    "repvit_m0_9": {"depth": (1, 1, 1, 1), "embed_dim": (8, 16, 24, 32)},
    "fastvit_t8": {"layers": (1, 1, 1, 1), "embed_dims": (16, 32, 64, 128)},
    "fastvit_mci0": {"layers": (1, 1, 1, 1), "embed_dims": (16, 32, 64, 128)},
    "tiny_vit_5m_224": {"depths": (1, 1, 1, 1)},
    "efficientvit_m0": {"img_size": SIDE},
    "levit_128s": {"img_size": SIDE},
}
"""Names that timm knows, with options that make them small."""


class Photos(nn.Module):
    """An image model as the image side of an encoder."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.embed_dim = model, 0

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        return functional.normalize(self.model(pixel_values), dim=-1)

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.encode_image(pixel_values)


def family(name: str) -> Photos:
    """A model as training leaves it: every BatchNorm has seen something."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0, **FAMILIES.get(name, {}))
    for layer in model.modules():
        if isinstance(layer, _BatchNorm):
            nn.init.normal_(layer.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(layer.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.1)
    return Photos(model).eval()


def photos(count: int) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, 3, SIDE, SIDE)).astype(np.float32)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_folded_model_says_the_same_and_is_smaller(name: str) -> None:
    model = family(name)
    copy = folded(model, torch.from_numpy(photos(2)))
    assert copy is not model
    sizes = [sum(parameter.numel() for parameter in each.parameters()) for each in (model, copy)]
    assert sizes[1] < sizes[0]
    inputs = torch.from_numpy(photos(3))
    with torch.no_grad():
        torch.testing.assert_close(copy(inputs), model(inputs), atol=1e-5, rtol=1e-4)
    assert foldable(model), "the model that is trained keeps its branches"


@pytest.mark.parametrize("name", ["repvit_m0_9"])
def test_the_graph_is_folded_and_equals_the_model_with_branches(name: str, tmp_path: Path) -> None:
    model = family(name)
    export_tower(model, "image", photos(2), tmp_path / "image.onnx")
    weights = sum(np.prod(value.dims) for value in onnx.load(tmp_path / "image.onnx").graph.initializer)
    trained = sum(parameter.numel() for parameter in model.parameters())
    assert weights < trained
    tower = Tower(tmp_path / "image.onnx", IMAGE_INPUT, IMAGE_OUTPUT, threads=1)
    model.embed_dim = tower.width
    for count in (1, 2, 7):
        np.testing.assert_allclose(
            tower.run(photos(count)),
            embed_images(model, photos(count)),
            atol=1e-4,  # type: ignore[arg-type]
        )


def test_a_model_without_such_blocks_is_left_alone() -> None:
    model = Photos(timm.create_model("mobilenetv3_small_050", num_classes=0)).eval()
    assert not foldable(model)
    assert folded(model, torch.from_numpy(photos(2))) is model


def test_a_method_of_that_name_elsewhere_is_not_called() -> None:
    class Other(nn.Linear):
        def fuse(self) -> nn.Module:
            raise AssertionError("not timm's")

    model = nn.Sequential(Other(4, 4))
    assert folded(model, torch.zeros(2, 4)) is model


@pytest.mark.parametrize("fault", ["it has none", ""])
def test_a_folding_that_fails_or_errs_is_not_used(
    fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(model: nn.Module) -> nn.Module:
        if fault:
            raise RuntimeError(fault)
        return Photos(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 32)))

    monkeypatch.setattr("timm.utils.reparameterize_model", wrong)
    model = family("repvit_m0_9")
    with caplog.at_level(logging.WARNING):
        assert folded(model, torch.from_numpy(photos(2))) is model
    assert (fault or "changes the output") in caplog.text
    assert "as they are" in caplog.text
