"""ONNX files that lie about themselves, and the real ones, which all pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from compressor.runtime.graph_file import check_graph

WEIGHTS = np.arange(12, dtype=np.float32).reshape(3, 4)


def model(*tensors: TensorProto, node: onnx.NodeProto | None = None) -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, 4]) for name in ("x", "y")]
    nodes = [node or helper.make_node("Add", ["x", "w"], ["y"])]
    return helper.make_model(helper.make_graph(nodes, "graph", ends[:1], ends[1:], list(tensors)))


def weights(**changed: object) -> TensorProto:
    tensor = numpy_helper.from_array(WEIGHTS, "w")
    for name, value in changed.items():
        if isinstance(value, list):
            del getattr(tensor, name)[:]
            getattr(tensor, name).extend(value)
        else:
            setattr(tensor, name, value)
    return tensor


def outside(location: str, offset: str = "0", length: str = "48") -> TensorProto:
    tensor = weights(data_location=TensorProto.EXTERNAL)
    tensor.ClearField("raw_data")
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=value)
    return tensor


def written(folder: Path, content: onnx.ModelProto | bytes) -> Path:
    path = folder / "graph.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    return path


def in_constant(tensor: TensorProto) -> onnx.ModelProto:
    return model(node=helper.make_node("Constant", [], ["y"], value=tensor))


def in_branch(tensor: TensorProto) -> onnx.ModelProto:
    branch = model(tensor).graph
    return model(node=helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch))


def in_function(tensor: TensorProto) -> onnx.ModelProto:
    whole = model(weights())
    node = helper.make_node("Constant", [], ["y"], value=tensor)
    whole.functions.append(helper.make_function("own", "f", [], ["y"], [node], []))
    return whole


@pytest.mark.parametrize("place", [model, in_constant, in_branch, in_function])
@pytest.mark.parametrize(
    ("tensor", "why"),
    [
        (weights(dims=[2**40, 4]), "declares the tensor 'w' of 17592186044416 bytes and holds 48"),
        (weights(dims=[2**62, 4]), "impossible dimension"),
        (weights(dims=[-1, 4]), "impossible dimension"),
        (weights(dims=[1] * 100), "more than 64 dimensions"),
        (weights(dims=[3, 3]), "of 36 bytes and holds 48"),
        (weights(data_type=99), "of an unknown type"),
        (helper.make_tensor("w", TensorProto.INT64, [0], []), ""),
        (TensorProto(name="w", data_type=1, dims=[10**9]), "with 1000000000 elements and holds 0 bytes"),
        (TensorProto(name="w", data_type=8, dims=[10**9]), "with 1000000000 strings and holds 0"),
        (outside("graph.onnx.data"), ""),
        (outside("/etc/passwd"), "takes the tensor 'w' from '/etc/passwd', which is not its weights file"),
        (outside("../graph.onnx.data"), "is not its weights file in the bundle"),
        (outside("*/_ORT_MEM_ADDR_/*"), "is not its weights file in the bundle"),
        (outside("graph.onnx.data", offset="30"), "of 48 bytes at 30 of 'graph.onnx.data', which has 64"),
        (outside("graph.onnx.data", offset="-8"), "the offset '-8'"),
        (outside("graph.onnx.data", length="1" * 40), "the length '1111"),
        (outside("graph.onnx.data", length="12"), "declares the tensor 'w'"),
    ],
    ids=range(17),
)
def test_a_tensor_that_lies_is_found_wherever_it_stands(
    tmp_path: Path, place: object, tensor: TensorProto, why: str
) -> None:
    path = written(tmp_path, place(tensor))  # type: ignore[operator]
    if not why:
        check_graph(path, {"graph.onnx.data": 64})
        return
    with pytest.raises(ValueError, match=why) as caught:
        check_graph(path, {"graph.onnx.data": 64})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", range(1, 27))
def test_every_type_of_onnx_is_measured_as_onnx_measures_it(tmp_path: Path, kind: int) -> None:
    if kind == TensorProto.STRING:
        tensor = helper.make_tensor("w", kind, [2], [b"a", b"b"])
    else:
        name = TensorProto.DataType.Name(kind)
        size = 0.25 if name.endswith("INT2") else 0.5 if name in ("INT4", "UINT4", "FLOAT4E2M1") else None
        size = size or helper.tensor_dtype_to_np_dtype(kind).itemsize
        tensor = TensorProto(name="w", data_type=kind, dims=[8], raw_data=b"\0" * int(8 * size))
    check_graph(written(tmp_path, model(tensor)), {})


def test_typed_values_pass(tmp_path: Path) -> None:
    for kind, values in (
        (1, [0.5, 1.5]),
        (7, [1, -1]),
        (6, [1, -1]),
        (9, [True, False]),
        (11, [0.5, 1]),
        (13, [1, 2]),
    ):
        check_graph(written(tmp_path, model(helper.make_tensor("w", kind, [2], values))), {})


def test_a_sparse_tensor_is_refused(tmp_path: Path) -> None:
    """Some bytes that become a dense tensor of any size."""
    values, places = weights(dims=[1, 12]), numpy_helper.from_array(np.arange(12), "places")
    values.dims[:] = [12]
    whole = model()
    whole.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [10**12]))
    with pytest.raises(ValueError, match="holds a sparse tensor"):
        check_graph(written(tmp_path, whole), {})


def test_a_node_that_opens_files_is_refused(tmp_path: Path) -> None:
    node = helper.make_node(
        "EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="../../secret"
    )
    with pytest.raises(ValueError, match="opens other files"):
        check_graph(written(tmp_path, model(node=node)), {})


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 64, b"not a graph", b"\xff" * 64, b"\x08\x08", b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"],
)
def test_what_is_no_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ValueError, match=r"no ONNX graph|is empty"):
        check_graph(written(tmp_path, content), {})


def test_a_graph_cut_off_anywhere_is_refused_or_has_its_graph(tmp_path: Path) -> None:
    whole = model(weights()).SerializeToString()
    start = whole.index(b"graph")
    for end in range(start, len(whole) - 10):
        with pytest.raises(ValueError, match=r"cut off|no ONNX graph|declares"):
            check_graph(written(tmp_path, whole[:end]), {})


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10**6), bits=st.integers(1, 255), rest=st.binary(max_size=6))
def test_no_damage_breaks_the_reader(tmp_path: Path, at: int, bits: int, rest: bytes) -> None:
    """Whatever a file holds, it is accepted or refused in a sentence; nothing else is raised."""
    content = bytearray(model(weights()).SerializeToString())
    content[at % len(content)] ^= bits
    told = "fine"
    try:
        check_graph(written(tmp_path, bytes(content) + rest), {})
    except ValueError as error:
        told = str(error)
    assert 0 < len(told) < 300
    assert "\n" not in told


def test_graphs_of_the_exporter_pass(exported: Path) -> None:
    graphs = sorted(exported.rglob("*.onnx"))
    assert len(graphs) == 4
    for path in graphs:
        check_graph(path, {})


def test_weights_beside_the_graph_pass_where_they_are_listed(exported: Path, tmp_path: Path) -> None:
    whole = onnx.load(exported / "fp32" / "image.onnx")
    onnx.save_model(
        whole, tmp_path / "graph.onnx", save_as_external_data=True, location="w.data", size_threshold=0
    )
    beside = {"w.data": (tmp_path / "w.data").stat().st_size}
    check_graph(tmp_path / "graph.onnx", beside)
    with pytest.raises(ValueError, match="which is not its weights file"):
        check_graph(tmp_path / "graph.onnx", {})
    with pytest.raises(ValueError, match="declares"):
        check_graph(tmp_path / "graph.onnx", {"w.data": beside["w.data"] - 1})
