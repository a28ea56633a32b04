from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressor.export.precision.weight_only import quantize_weights
from compressor.export.structure import structural_fault
from tests.export.precision.conftest import Towers
from tests.export.precision.graphs import inputs, operators, run, worst_cosine


@pytest.mark.parametrize(("bits", "floor", "size"), [(8, 0.999, 0.45), (4, 0.97, 0.35)])
@pytest.mark.parametrize("tower", ["image", "text"])
def test_products_take_fewer_bits_and_stay_close(
    fp32: Towers, tmp_path: Path, tower: str, bits: int, floor: float, size: float
) -> None:
    target = tmp_path / f"{tower}.onnx"
    assert quantize_weights(fp32[tower], target, bits) > 0.5  # type: ignore[index, arg-type]
    assert "MatMulNBits" in operators(target)
    assert not operators(target) & {"Gemm", "MatMul"}
    assert target.stat().st_size < size * fp32[tower].stat().st_size  # type: ignore[index]
    assert worst_cosine(fp32[tower], target, tower) > floor  # type: ignore[index]
    assert structural_fault(target) == ""


def test_an_embedding_does_not_depend_on_its_batch(fp32: Towers, tmp_path: Path) -> None:
    quantize_weights(fp32["image"], tmp_path / "image.onnx", 8)
    rows = inputs("image", 5)
    rows[1:] *= 50
    alone, together = (run(tmp_path / "image.onnx", "image", part)[0] for part in (rows[:1], rows))
    np.testing.assert_allclose(alone, together, atol=1e-5)


def table_graph(path: Path, table: np.ndarray) -> Path:
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", 3])
    rows = helper.make_tensor_value_info("text_embeds", TensorProto.FLOAT, ["batch", 3, table.shape[1]])
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "input_ids"], ["text_embeds"], name="words")],
        "a table",
        [ids],
        [rows],
        [numpy_helper.from_array(table, "table")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_a_table_is_rounded_to_127_steps_of_its_own_rows(tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(size=(100, 50)).astype(np.float32)
    table[7] = 0
    table[9] *= 1000
    quantize_weights(table_graph(tmp_path / "table.onnx", table), tmp_path / "int8.onnx", 4)
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "int8.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input_ids": np.array([[7, 8, 9]])})
    for row, original in zip(found[0], table[[7, 8, 9]], strict=True):
        step = max(abs(float(value)) for value in original) / 127
        assert max(abs(float(a) - float(b)) for a, b in zip(row, original, strict=True)) <= 0.5001 * step
    assert (tmp_path / "int8.onnx").stat().st_size < 0.35 * table.nbytes


def test_small_tables_are_left_alone(tmp_path: Path) -> None:
    small = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    assert quantize_weights(table_graph(tmp_path / "table.onnx", small), tmp_path / "int8.onnx", 8) == 0


def test_weights_outside_the_file_stay_outside(fp32_outside: Towers, tmp_path: Path) -> None:
    quantize_weights(fp32_outside["image"], tmp_path / "image.onnx", 4, external=True)
    assert {path.name for path in tmp_path.iterdir()} == {"image.onnx", "image.onnx.data"}
    assert worst_cosine(fp32_outside["image"], tmp_path / "image.onnx", "image") > 0.97


def test_the_same_graph_gives_the_same_bytes(fp32: Towers, tmp_path: Path) -> None:
    for name in ("first", "second"):
        quantize_weights(fp32["text"], tmp_path / f"{name}.onnx", 4)
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()
