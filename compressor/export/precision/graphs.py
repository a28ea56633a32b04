"""What the makers of precisions share: a graph made ready, saved, counted; ONNX Runtime's advice unheard."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from copy import deepcopy
from io import StringIO
from math import prod
from pathlib import Path

import onnx
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.quantization.shape_inference import quant_pre_process


def prepare(source: Path, prepared: Path, external: bool) -> None:
    """Fold constants and infer shapes, drop the value types, name all nodes, let no Gemm share its weights.

    Symbolic shape inference fails on these graphs, and the types that the optimiser leaves behind name
    values that no longer exist, which the quantiser trusts. It also transposes the weights of a Gemm in
    place, and with them the embedding table that they are in a decoder.
    """
    quant_pre_process(
        str(source),
        str(prepared),
        skip_symbolic_shape=True,
        save_as_external_data=external,
        all_tensors_to_one_file=True,
    )
    model = onnx.load(str(prepared), load_external_data=False)
    del model.graph.value_info[:]
    known = {note.key for note in model.metadata_props}
    notes = onnx.load(str(source), load_external_data=False).metadata_props
    model.metadata_props.extend(note for note in notes if note.key not in known)
    _unshare_gemms(model.graph)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type} {number}"
    onnx.save(model, str(prepared))


def save(model: onnx.ModelProto, target: Path, external: bool) -> None:
    """Write a graph, its weights in `<target>.data` where it is `external`, and check what was written.

    Nodes that were added at the end are put where they belong.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if external:
        model = deepcopy(model)  # writing takes the weights out of the model itself
    ONNXModel(model).topological_sort()
    onnx.save(
        model,
        str(target),
        save_as_external_data=external,
        all_tensors_to_one_file=True,
        location=f"{target.name}.data" if external else None,
    )
    onnx.checker.check_model(str(target))


def share_of_weights(path: Path, *kinds: int) -> float:
    """Share of a graph's weights (by number) that are stored in these types of `onnx.TensorProto`."""
    weights = onnx.load(str(path), load_external_data=False).graph.initializer
    sizes = [(weight.data_type, prod(weight.dims)) for weight in weights]
    total = sum(size for _, size in sizes)
    return sum(size for kind, size in sizes if kind in kinds) / total if total else 0.0


@contextmanager
def quiet() -> Iterator[None]:
    """Hide the quantisers' advice, which they give on the root logger, and the calibrators' prints; other
    loggers are not touched."""
    root, own = logging.getLogger(), logging.getLogger("onnxruntime.quantization")

    def only_errors(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    level = own.level
    root.addFilter(only_errors)
    own.setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        root.removeFilter(only_errors)
        own.setLevel(level)


def _unshare_gemms(graph: onnx.GraphProto) -> None:
    """Give every Gemm whose weights others use too a copy of its own."""
    uses = Counter(name for node in graph.node for name in node.input)
    weights = {weight.name: weight for weight in graph.initializer}
    for node in graph.node:
        if node.op_type == "Gemm" and node.input[1] in weights and uses[node.input[1]] > 1:
            copy = onnx.TensorProto()
            copy.CopyFrom(weights[node.input[1]])
            copy.name = f"{node.input[1]} of {node.name or node.output[0]}"
            graph.initializer.append(copy)
            node.input[1] = copy.name
