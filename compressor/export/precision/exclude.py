"""Which layers of a tower bear quantisation worst: their own error, each measured alone, all in one pass.

The harm of a layer is the energy of what quantisation changes in its output, over the energy of the output's
variation from sample to sample: |q(W) q(x) - W x|^2 / |W x - mean W x|^2, for the exact input x, so that
errors of earlier layers do not count. It is the inverse of a signal-to-noise ratio, in which a value that is
the same for all samples is no signal. Beside every layer of the fp32 graph stands its quantised twin, with
the scales of the quantised graph; only two numbers a layer leave the graph, so that memory does not grow with
depth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from compressor.export.precision.graphs import save

_TWIN = "quantised twin: "
_BATCH_AXIS = "axis of the batch"


def harm_of_layers(
    model: onnx.ModelProto,
    quantised: onnx.ModelProto,
    layers: Sequence[str],
    feed: Mapping[str, NDArray[Any]],
    external: bool = False,
) -> dict[str, float]:
    """Harm (see above) of these nodes of `model` in `quantised`, its QDQ version with the same node names;
    measured on `feed`, inputs by name. `external`: weights would be too much for one file."""
    measured = _with_twins(model, quantised, layers)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # The optimiser would fuse a twin into integer arithmetic, or merge what twins have in common.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    ends = [end for name in layers for end in (f"{_TWIN}{name} error", f"{_TWIN}{name} energy")]
    with TemporaryDirectory() as scratch:
        path = Path(scratch, "measured.onnx")
        save(measured, path, external)
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        energies = np.asarray(session.run(ends, dict(feed)), np.float64).reshape(len(layers), 2)
    return {
        name: float(error / max(energy, np.finfo(np.float32).tiny))
        for name, (error, energy) in zip(layers, energies, strict=True)
    }


def _with_twins(model: onnx.ModelProto, quantised: onnx.ModelProto, layers: Sequence[str]) -> onnx.ModelProto:
    """The fp32 graph with a quantised twin of every one of the layers."""
    copied = {node.name: node for node in quantised.graph.node if node.name in layers}
    constants = {weight.name: weight for weight in quantised.graph.initializer}
    measured = deepcopy(model)
    measured.graph.initializer.append(numpy_helper.from_array(np.array([0]), _BATCH_AXIS))
    known = {weight.name for weight in measured.graph.initializer}
    for node in model.graph.node:
        if node.name not in copied:
            continue
        added = _twin_of(copied[node.name], quantised)
        for name in sorted({name for each in added for name in each.input}):
            if name in constants and name not in known:
                measured.graph.initializer.append(constants[name])
                known.add(name)
        # Of a convolution that took the ReLU behind it in, the output is the ReLU's.
        measured.graph.node.extend([*added, *_comparison(copied[node.name], added[-1].output[0])])
        for end in ("error", "energy"):
            value = helper.make_tensor_value_info(f"{_TWIN}{node.name} {end}", TensorProto.FLOAT, [])
            measured.graph.output.append(value)
    return measured


def _twin_of(node: NodeProto, quantised: onnx.ModelProto) -> list[NodeProto]:
    """Copies of a quantised layer and of the pairs around it, fed with fp32 values; the last gives what it
    gives. Only what a convolution gives is rounded in its own name; else the next layer's input is."""
    made_by = {name: each for each in quantised.graph.node for name in each.output}
    twin, added = deepcopy(node), []
    twin.name, twin.output[0] = f"{_TWIN}{node.name}", f"{_TWIN}{node.name} output"
    for place, name in enumerate(node.input):
        restore = made_by.get(name)
        if restore is not None and restore.op_type == "DequantizeLinear":
            store = made_by.get(restore.input[0])
            added += _pair(store, restore, f"{twin.name} {place}")
            twin.input[place] = added[-1].output[0]
    added.append(twin)
    rounded = [each for each in quantised.graph.node if each.op_type == "QuantizeLinear"]
    store = next((each for each in rounded if each.input[0] == node.output[0]), None)
    if node.op_type == "Conv" and store is not None:
        restore = next(each for each in quantised.graph.node if store.output[0] in each.input)
        added += _pair(store, restore, f"{twin.name} result")
        added[-2].input[0] = twin.output[0]
    return added


def _pair(store: NodeProto | None, restore: NodeProto, prefix: str) -> list[NodeProto]:
    """Copies of a QuantizeLinear (none before a constant) and its DequantizeLinear under other names."""
    copies = [deepcopy(restore)]
    copies[0].name, copies[0].output[0] = f"{prefix} restore", f"{prefix} restored"
    if store is not None:
        copies.insert(0, deepcopy(store))
        copies[0].name, copies[0].output[0] = f"{prefix} store", f"{prefix} stored"
        copies[1].input[0] = copies[0].output[0]
    return copies


def _comparison(node: NodeProto, output: str) -> list[NodeProto]:
    """Energy of the difference between a twin's output and the layer's, and of the layer's variation."""
    name, exact = f"{_TWIN}{node.name}", node.output[0]
    difference, mean, variation = (f"{name} {what}" for what in ("difference", "mean", "variation"))
    return [
        helper.make_node("Sub", [output, exact], [difference], name=difference),
        _energy(difference, f"{name} error"),
        helper.make_node("ReduceMean", [exact, _BATCH_AXIS], [mean], keepdims=1, name=mean),
        helper.make_node("Sub", [exact, mean], [variation], name=variation),
        _energy(variation, f"{name} energy"),
    ]


def _energy(value: str, energy: str) -> NodeProto:
    return helper.make_node("ReduceSumSquare", [value], [energy], keepdims=0, name=energy)
