from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from compressor.export.onnx import export_tower
from compressor.export.precision.dynamic import quantize_tower
from compressor.export.precision.graphs import share_of_weights
from compressor.runtime.schema import IMAGE_INPUT, IMAGE_OUTPUT
from compressor.runtime.session import Tower
from tests.export.toys import SIZE, ToyEncoder


class Convolutions(nn.Module):
    """An image tower without a single matrix product."""

    embed_dim = 8

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.AdaptiveAvgPool2d(1)
        )

    def encode_image(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self.layers(pixel_values).flatten(1), dim=-1)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(6, 3, SIZE, SIZE)).astype(np.float32)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("fp32") / "image.onnx"
    export_tower(ToyEncoder(300).eval(), "image", pixels, path)
    return path


def run(path: Path, pixels: np.ndarray) -> np.ndarray:
    return Tower(path, IMAGE_INPUT, IMAGE_OUTPUT, threads=1).run(pixels)


def test_matrix_products_become_int8_and_stay_close(
    exported: Path, pixels: np.ndarray, tmp_path: Path
) -> None:
    share = quantize_tower(exported, tmp_path / "image.onnx")
    operators = {node.op_type for node in onnx.load(tmp_path / "image.onnx").graph.node}
    assert "MatMulInteger" in operators
    assert not operators & {"Gemm", "MatMul"}
    assert 0.8 < share < 0.9, "the convolution stays float32"
    assert (tmp_path / "image.onnx").stat().st_size < 0.5 * exported.stat().st_size
    cosines = (run(exported, pixels) * run(tmp_path / "image.onnx", pixels)).sum(axis=1)
    assert cosines.min() > 0.99


def test_every_output_channel_has_its_own_scale(exported: Path, tmp_path: Path) -> None:
    quantize_tower(exported, tmp_path / "image.onnx")
    initializers = onnx.load(tmp_path / "image.onnx").graph.initializer
    weights = [
        tensor
        for tensor in initializers
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 2
    ]
    scales = [tensor for tensor in initializers if tensor.name.endswith("_scale")]
    assert weights
    assert sorted(tensor.dims[0] for tensor in scales) == sorted(tensor.dims[1] for tensor in weights)


def test_quantising_again_gives_the_same_bytes(exported: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        quantize_tower(exported, tmp_path / f"{name}.onnx")
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"first.onnx", "second.onnx"}


def test_convolutions_stay_float32(tmp_path: Path, pixels: np.ndarray) -> None:
    export_tower(Convolutions().eval(), "image", pixels, tmp_path / "image.onnx")
    assert quantize_tower(tmp_path / "image.onnx", tmp_path / "int8.onnx") == 0
    np.testing.assert_allclose(
        run(tmp_path / "int8.onnx", pixels), run(tmp_path / "image.onnx", pixels), atol=1e-5
    )


def test_weights_outside_the_file_stay_outside(tmp_path: Path, pixels: np.ndarray) -> None:
    source = tmp_path / "image.onnx"
    export_tower(ToyEncoder(300).eval(), "image", pixels, source, largest_inline=1000)
    (tmp_path / "int8").mkdir()
    assert quantize_tower(source, tmp_path / "int8" / "image.onnx", external=True) > 0.8
    assert {path.name for path in (tmp_path / "int8").iterdir()} == {"image.onnx", "image.onnx.data"}
    cosines = (run(source, pixels) * run(tmp_path / "int8" / "image.onnx", pixels)).sum(axis=1)
    assert cosines.min() > 0.99


def test_quantiser_is_silent_and_other_warnings_are_not(
    exported: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    quantize_tower(exported, tmp_path / "image.onnx")
    said = capfd.readouterr()
    assert (said.out, said.err, caplog.records) == ("", "", [])
    logging.getLogger().warning("still heard")
    assert caplog.messages == ["still heard"]


def test_share_counts_weights_not_tensors(exported: Path) -> None:
    assert share_of_weights(exported, onnx.TensorProto.INT8) == 0
