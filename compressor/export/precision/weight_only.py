"""Weight-only quantisation: weights are stored in 8 or 4 bits, values between layers stay float32.

Every product with a constant matrix becomes ONNX Runtime's MatMulNBits: weights in blocks of `BLOCK` along
the input channels, one scale a block, rounded to nearest. Its kernel quantises the other factor as it comes,
a block at a time (`accuracy_level` 4), unlike dynamic int8 with one scale for the whole call, so that an
image's embedding does not depend on its batch. The operator is ONNX Runtime's own: nothing else reads these
graphs.

An embedding table, most of a text tower's weights, is stored as int8 with one scale a row at both widths; in
standard operators. Convolutions stay float32.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compressor.export.precision.graphs import prepare, quiet, save, share_of_weights

Bits = Literal[4, 8]
BLOCK = 32
_SMALL_TABLE = 4096
"""Weights below which a table is left alone."""


def quantize_weights(source: Path, target: Path, bits: Bits, external: bool = False) -> float:
    """Write a version of the ONNX graph at `source` whose weights have 4 or 8 bits; returns the share of its
    bytes that are such weights (0 to 1).

    `external` as in `quantize_tower`. Raises whatever ONNX Runtime's quantiser raises for a graph it does not
    understand, and `ImportError` where this version of it has none.
    """
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    with quiet(), TemporaryDirectory() as scratch:
        prepared = Path(scratch, "prepared.onnx")
        prepare(source, prepared, external)
        model = onnx.load(str(prepared))
        _gemms_to_products(model.graph)
        _quantize_tables(model.graph)
        quantiser = MatMulNBitsQuantizer(
            model, bits=bits, block_size=BLOCK, is_symmetric=True, accuracy_level=4
        )
        quantiser.process()
        save(quantiser.model.model, target, external)
    return share_of_weights(target, TensorProto.UINT8, TensorProto.INT8)


def _gemms_to_products(graph: onnx.GraphProto) -> None:
    """Write every plain Gemm with constant weights as MatMul and Add, the form that is quantised."""
    weights = {weight.name: weight for weight in graph.initializer}
    nodes = []
    for node in graph.node:
        options = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        plain = (
            node.op_type == "Gemm"
            and node.input[1] in weights
            and options.get("alpha", 1.0) == options.get("beta", 1.0) == 1.0
            and not options.get("transA", 0)
        )
        if not plain:
            nodes.append(node)
            continue
        name = node.name or node.output[0]
        matrix = numpy_helper.to_array(weights[node.input[1]])
        turned = numpy_helper.from_array(
            np.ascontiguousarray(matrix.T if options.get("transB", 0) else matrix), f"{name} weights"
        )
        graph.initializer.append(turned)
        has_bias = len(node.input) > 2 and bool(node.input[2])
        product = f"{name} product" if has_bias else node.output[0]
        nodes.append(helper.make_node("MatMul", [node.input[0], turned.name], [product], name=name))
        if has_bias:
            added = helper.make_node("Add", [product, node.input[2]], list(node.output), name=f"{name} bias")
            nodes.append(added)
    _replace(graph, nodes)


def _quantize_tables(graph: onnx.GraphProto) -> None:
    """Store float tables that rows are taken from as int8 with one scale a row: row = scale * integers."""
    weights = {weight.name: weight for weight in graph.initializer}
    nodes = []
    for node in graph.node:
        axis = next((each.i for each in node.attribute if each.name == "axis"), 0)
        table = weights.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or axis or table.data_type != TensorProto.FLOAT or len(table.dims) != 2:
            nodes.append(node)
            continue
        rows = numpy_helper.to_array(table)
        if rows.size < _SMALL_TABLE:
            nodes.append(node)
            continue
        scales = np.abs(rows).max(axis=1, keepdims=True) / 127
        integers = np.rint(rows / np.where(scales > 0, scales, 1)).astype(np.int8)
        name, ids, output = node.name or node.output[0], node.input[1], node.output[0]
        graph.initializer.extend(
            [
                numpy_helper.from_array(integers, f"{name} integers"),
                numpy_helper.from_array(scales.astype(np.float32), f"{name} scales"),
            ]
        )
        row, scale, wide = f"{name} row", f"{name} scale", f"{name} float"
        nodes += [
            helper.make_node("Gather", [f"{name} integers", ids], [row], name=row),
            helper.make_node("Gather", [f"{name} scales", ids], [scale], name=scale),
            helper.make_node("Cast", [row], [wide], to=TensorProto.FLOAT, name=wide),
            helper.make_node("Mul", [wide, scale], [output], name=f"{name} restore"),
        ]
    _replace(graph, nodes)


def _replace(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    """Put these nodes in place of the graph's, and drop the weights that nothing reads any more."""
    del graph.node[:]
    graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input} | {end.name for end in graph.output}
    kept = [weight for weight in graph.initializer if weight.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
