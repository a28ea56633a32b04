from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pytest

from compressor.export.precision.graphs import share_of_weights
from compressor.export.precision.half import halve_tower
from compressor.export.structure import structural_fault
from tests.export.precision.conftest import Towers
from tests.export.precision.graphs import worst_cosine

TOWERS = ("image", "text")


def computed_in_half(path: Path, operator: str) -> bool:
    """True where such a node reads a value of half precision, by ONNX's own inference of types."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    nodes = [node for node in graph.node if node.op_type == operator]
    assert nodes
    return any(types.get(node.input[0]) == onnx.TensorProto.FLOAT16 for node in nodes)


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("keep", [False, True])
def test_weights_take_half_and_the_embedding_stays(
    fp32: Towers, tmp_path: Path, tower: str, keep: bool
) -> None:
    target = tmp_path / f"{tower}.onnx"
    halve_tower(fp32[tower], target, keep=keep)  # type: ignore[index]
    assert share_of_weights(target, onnx.TensorProto.FLOAT16) > 0.9
    assert target.stat().st_size < 0.65 * fp32[tower].stat().st_size  # type: ignore[index]
    assert worst_cosine(fp32[tower], target, tower) > 0.9999  # type: ignore[index]
    assert structural_fault(target) == ""


def test_normalisations_stay_float32_where_they_are_kept(fp32: Towers, tmp_path: Path) -> None:
    halve_tower(fp32["text"], tmp_path / "all.onnx")
    halve_tower(fp32["text"], tmp_path / "kept.onnx", keep=True)
    assert computed_in_half(tmp_path / "all.onnx", "LayerNormalization")
    assert not computed_in_half(tmp_path / "kept.onnx", "LayerNormalization")
    assert computed_in_half(tmp_path / "kept.onnx", "Gemm")


def test_weights_outside_the_file_stay_outside(fp32_outside: Towers, tmp_path: Path) -> None:
    halve_tower(fp32_outside["image"], tmp_path / "image.onnx", external=True)
    assert {path.name for path in tmp_path.iterdir()} == {"image.onnx", "image.onnx.data"}
    assert worst_cosine(fp32_outside["image"], tmp_path / "image.onnx", "image") > 0.9999


def test_the_search_path_is_left_as_it_was(fp32: Towers, tmp_path: Path) -> None:
    before = list(sys.path)
    halve_tower(fp32["image"], tmp_path / "image.onnx")
    assert sys.path == before
