from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from compressor.export.structure import structural_fault
from tests.export.toys import write_toy_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "bundle"
    write_toy_bundle(folder, precisions=("fp32", "int8"))
    return folder


def graph(
    tmp_path: Path, *, domain: str = "", shape: tuple[object, ...] = ("batch", 4), outputs: int = 1
) -> Path:
    ends = [helper.make_tensor_value_info(f"y{k}", TensorProto.FLOAT, shape) for k in range(outputs)]
    nodes = [helper.make_node("Relu", ["x"], [end.name], domain=domain) for end in ends]
    start = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    model = helper.make_model(
        helper.make_graph(nodes, "made by hand", [start], ends),
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("somebody.else", 1)],
    )
    path = tmp_path / "graph.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_graphs_of_every_kind_that_is_made_are_sound(bundle: Path, tmp_path: Path) -> None:
    for path in bundle.rglob("*.onnx"):
        assert structural_fault(path) == ""
    assert structural_fault(graph(tmp_path)) == ""


def test_what_is_no_graph_is_told(tmp_path: Path, bundle: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes((bundle / "fp32" / "image.onnx").read_bytes()[:500])
    assert structural_fault(broken).startswith("is no valid ONNX graph: ")


def test_operators_of_other_sets_are_refused(tmp_path: Path) -> None:
    path = graph(tmp_path, domain="somebody.else")
    assert structural_fault(path) == "has operators of other sets: somebody.else"


def test_ends_must_be_one_each_with_a_dynamic_batch(tmp_path: Path) -> None:
    assert "1 inputs and 2 outputs" in structural_fault(graph(tmp_path, outputs=2))
    for shape in ((2, 4), ("batch", "width"), ()):
        assert "not exactly the batch is dynamic" in structural_fault(graph(tmp_path, shape=shape))


def test_weights_may_lie_in_the_one_file_beside_it_and_nowhere_else(tmp_path: Path, bundle: Path) -> None:
    path = tmp_path / "image.onnx"
    model = onnx.load(bundle / "fp32" / "image.onnx")
    onnx.save(model, path, save_as_external_data=True, location="elsewhere.bin", size_threshold=0)
    assert structural_fault(path, tmp_path / "elsewhere.bin") == ""
    assert "keeps weights in elsewhere.bin" in structural_fault(path, tmp_path / "image.onnx.data")
