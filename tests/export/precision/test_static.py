from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from compressor.export.onnx import export_tower
from compressor.export.precision.exclude import harm_of_layers
from compressor.export.precision.graphs import prepare, share_of_weights
from compressor.export.precision.static import layers_of, quantize_static_tower
from compressor.export.structure import structural_fault
from compressor.recipe.outcome import CalibrationSection, ParityBounds
from tests.export.precision.conftest import Towers
from tests.export.precision.graphs import inputs, operators, run, worst_cosine
from tests.export.toys import ToyEncoder

BOUNDS = ParityBounds()


def section(method: str = "minmax", **changes: object) -> CalibrationSection:
    return CalibrationSection.model_validate({"method": method, "samples": 24, **changes})


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_layers_become_int8_by_every_method_and_stay_close(fp32: Towers, tmp_path: Path, method: str) -> None:
    target = tmp_path / "image.onnx"
    made = quantize_static_tower(fp32["image"], target, inputs("image"), section(method), BOUNDS)
    assert (made.method, made.excluded, made.layers, made.note) == (method, (), 3, f"calibrated by {method}")
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators(target)
    assert share_of_weights(target, onnx.TensorProto.INT8) > 0.9
    assert worst_cosine(fp32["image"], target, "image") > 0.95
    assert structural_fault(target) == ""


@pytest.mark.parametrize("activations", ["uint8", "int8"])
def test_weights_are_symmetric_with_a_scale_a_channel_activations_as_asked(
    fp32: Towers, tmp_path: Path, activations: str
) -> None:
    target = tmp_path / "text.onnx"
    quantize_static_tower(fp32["text"], target, inputs("text"), section(activations=activations), BOUNDS)
    graph = onnx.load(target).graph
    values = {weight.name: onnx.numpy_helper.to_array(weight) for weight in graph.initializer}
    restored = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    constant = [node for node in restored if node.input[0] in values]
    moving = [values[node.input[2]] for node in restored if node.input[0] not in values]
    assert not any(values[node.input[2]].any() for node in constant if node.input[2:])
    assert {str(zero.dtype) for zero in moving} == {activations}
    assert activations == "uint8" or not any(zero.any() for zero in moving)
    weights = [node for node in restored if values.get(node.input[0], np.zeros(1)).dtype == np.int8]
    scales = [values[node.input[1]].size for node in weights if values[node.input[0]].ndim == 2]
    assert sorted(scales) == [24, 64]


def test_an_embedding_does_not_depend_on_its_batch(fp32: Towers, tmp_path: Path) -> None:
    quantize_static_tower(fp32["image"], tmp_path / "image.onnx", inputs("image"), section(), BOUNDS)
    rows = inputs("image", 5)
    rows[1:] *= 50
    alone, together = (run(tmp_path / "image.onnx", "image", part)[0] for part in (rows[:1], rows))
    np.testing.assert_allclose(alone, together, atol=1e-4)


def test_best_is_as_good_as_each_method(fp32: Towers, tmp_path: Path) -> None:
    made = {
        method: quantize_static_tower(
            fp32["image"], tmp_path / method / "image.onnx", inputs("image"), section(method), BOUNDS
        )
        for method in ("minmax", "percentile", "entropy", "best")
    }
    assert made["best"].cosine == max(found.cosine for found in made.values())
    assert made["best"].method in ("minmax", "percentile", "entropy")


class Rectified(ToyEncoder):
    """A convolution, a ReLU, a convolution, a ReLU6, as mobile networks have them."""

    def __init__(self) -> None:
        super().__init__(300)
        torch.manual_seed(1)
        self.first = torch.nn.Conv2d(3, 24, 3, padding=1)
        self.second = torch.nn.Conv2d(24, 24, 3, padding=1)
        self.third = torch.nn.Conv2d(24, 3, 3, padding=1)

    def encode_image(self, pixel_values: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.first(pixel_values))
        return super().encode_image(self.third(torch.nn.functional.relu6(4 * self.second(hidden))))


@pytest.fixture(scope="module")
def rectified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rectified") / "image.onnx"
    export_tower(Rectified().eval(), "image", inputs("image", 4), path)
    return path


def test_relus_behind_convolutions_go_into_the_rounding_of_uint8(rectified: Path, tmp_path: Path) -> None:
    def left(path: Path) -> list[str]:
        kinds = [node.op_type for node in onnx.load(path).graph.node]
        return sorted(kind for kind in kinds if kind in ("Relu", "Clip"))

    every = ["Clip", "Clip", "Relu", "Relu"]
    assert left(rectified) == every, (
        "a Clip is of the division by the length, a Relu of the head behind a Gemm"
    )
    made = {
        kind: quantize_static_tower(
            rectified, tmp_path / kind / "image.onnx", inputs("image"), section(activations=kind), BOUNDS
        )
        for kind in ("uint8", "int8")
    }
    assert left(tmp_path / "uint8/image.onnx") == ["Clip", "Relu"]
    assert left(tmp_path / "int8/image.onnx") == every
    for kind, found in made.items():
        assert worst_cosine(rectified, tmp_path / kind / "image.onnx", "image") > 0.97
        assert found.excluded == ()
    assert made["uint8"].cosine > made["int8"].cosine, "twice as many steps for what is not negative"


def test_harm_of_a_convolution_with_its_relu_is_that_of_both(rectified: Path, tmp_path: Path) -> None:
    """What a ReLU cuts off is no error of the convolution before it."""
    made = quantize_static_tower(rectified, tmp_path / "image.onnx", inputs("image"), section(), BOUNDS)
    prepare(rectified, tmp_path / "prepared.onnx", False)
    model = onnx.load(tmp_path / "prepared.onnx")
    harm = harm_of_layers(model, made.model, layers_of(model), {"pixel_values": inputs("image", 8)})
    assert max(harm.values()) < 0.01


class Spiky(ToyEncoder):
    """One layer that int8 ruins: a single input channel is a thousand times larger than what matters."""

    def __init__(self) -> None:
        super().__init__(300)
        with torch.no_grad():
            first = self.image_head[0]
            assert isinstance(first, torch.nn.Linear)
            self.patches.bias[0] = 3000
            first.weight[:, :16] *= 0.001  # channel 0 of all patches: the first 16 of its inputs


@pytest.fixture(scope="module")
def spiky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spiky") / "image.onnx"
    export_tower(Spiky().eval(), "image", inputs("image", 4), path)
    return path


def test_the_layer_that_hurts_is_left_in_float32_and_only_that_one(spiky: Path, tmp_path: Path) -> None:
    ruined = quantize_static_tower(
        spiky, tmp_path / "all" / "image.onnx", inputs("image"), section(max_excluded=0), BOUNDS
    )
    assert not ruined.keeps(BOUNDS)
    assert ruined.excluded == ()
    mended = quantize_static_tower(spiky, tmp_path / "image.onnx", inputs("image"), section(), BOUNDS)
    assert mended.keeps(BOUNDS)
    assert 1 <= len(mended.excluded) < mended.layers
    assert f"{len(mended.excluded)} of 3 layers left in float32" in mended.note
    assert worst_cosine(spiky, tmp_path / "image.onnx", "image") > BOUNDS.worst_cosine


def test_harm_is_the_energy_of_the_error_over_that_of_the_variation(fp32: Towers, tmp_path: Path) -> None:
    """Against arithmetic written out: the first layer of the text tower, quantised in NumPy."""
    made = quantize_static_tower(fp32["text"], tmp_path / "text.onnx", inputs("text"), section(), BOUNDS)
    prepare(fp32["text"], tmp_path / "prepared.onnx", False)
    model = onnx.load(tmp_path / "prepared.onnx")
    rows = inputs("text", 6, seed=3)
    harm = harm_of_layers(model, made.model, layers_of(model), {"input_ids": rows})
    assert len(harm) == made.layers == 2
    first = next(node for node in model.graph.node if node.op_type == "Gemm")
    encoder = ToyEncoder(300).eval()
    linear = encoder.text_head[0]
    assert isinstance(linear, torch.nn.Linear)
    with torch.no_grad():
        hidden = torch.nn.functional.layer_norm(encoder.words(torch.from_numpy(rows)).sum(1), (32,))
    x, w, b = (part.detach().numpy().astype(np.float64) for part in (hidden, linear.weight, linear.bias))
    values = {weight.name: onnx.numpy_helper.to_array(weight) for weight in made.model.graph.initializer}
    scale = float(values[f"{first.input[0]}_scale"])
    step = np.abs(w).max(axis=1, keepdims=True) / 127
    rounded = np.clip(np.rint(x / scale), -128, 127) * scale
    exact = x @ w.T + b
    error = rounded @ (np.rint(w / step) * step).T + b - exact
    variation = exact - exact.mean(axis=0)
    assert harm[first.name] == pytest.approx((error**2).sum() / (variation**2).sum(), rel=0.05)


def test_layers_that_int8_ruins_have_the_largest_harm(spiky: Path, tmp_path: Path) -> None:
    made = quantize_static_tower(
        spiky, tmp_path / "image.onnx", inputs("image"), section(max_excluded=0), BOUNDS
    )
    prepare(spiky, tmp_path / "prepared.onnx", False)
    model, feed = onnx.load(tmp_path / "prepared.onnx"), {"pixel_values": inputs("image", 8)}
    harm = harm_of_layers(model, made.model, layers_of(model), feed)
    assert len(harm) == 3
    least, *others = sorted(harm.values())
    assert min(others) > 10 * least, "the spiky layer, and the one that reads what it gives"


def test_weights_outside_the_file_stay_outside(fp32_outside: Towers, tmp_path: Path) -> None:
    target = tmp_path / "int8" / "image.onnx"
    quantize_static_tower(fp32_outside["image"], target, inputs("image"), section(), BOUNDS, external=True)
    assert {path.name for path in target.parent.iterdir()} == {"image.onnx", "image.onnx.data"}
    assert worst_cosine(fp32_outside["image"], target, "image") > 0.95


def test_calibrators_are_silent(fp32: Towers, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    quantize_static_tower(fp32["text"], tmp_path / "text.onnx", inputs("text"), section("entropy"), BOUNDS)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")
