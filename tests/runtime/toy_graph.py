"""A graph of one node, written without torch."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper


def write_graph(path: Path, operator: str = "Relu", shape: tuple[object, ...] = ("batch", 3)) -> Path:
    """`y` = operator of `x`, both float32 of the same shape; a name in `shape` is a dynamic dimension."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name in ("x", "y")]
    nodes = helper.make_graph([helper.make_node(operator, ["x"], ["y"])], "g", [ends[0]], [ends[1]])
    onnx.save(helper.make_model(nodes, ir_version=9, opset_imports=[helper.make_opsetid("", 18)]), str(path))
    return path
