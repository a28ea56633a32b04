"""int8 by dynamic quantisation of the matrix products: no calibration data, activations measured as they
come.

Weights of MatMul and Gemm become int8, one scale per output channel; activations are uint8 with one scale
per call. Two consequences that the parity gate watches: the embedding of an image depends slightly on the
others of its batch, and a processor without int8 dot products (x86 before VNNI) may saturate its 16-bit
sums and differ from the machine where the artifact was checked. Convolutions stay float32: ONNX Runtime's
dynamic ones are slow and inaccurate. Embedding tables stay float32 too.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process

OPERATORS = ("MatMul", "Gemm")


def quantize_tower(source: Path, target: Path, external: bool = False) -> float:
    """Write an int8 version of the ONNX graph at `source`; returns the share of its weights that are int8
    (0 to 1).

    `external`: the source keeps its weights in a file of its own, and so will the target (`<target>.data`),
    because together they would exceed what one ONNX file can hold. Raises whatever ONNX Runtime's quantiser
    raises for a graph it does not understand.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _quiet(), TemporaryDirectory(dir=target.parent) as scratch:
        prepared = Path(scratch, "prepared.onnx")
        _prepare(source, prepared, external)
        quantize_dynamic(
            prepared,
            target,
            op_types_to_quantize=list(OPERATORS),
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=external,
        )
    onnx.checker.check_model(str(target))
    return int8_share(target)


def int8_share(path: Path) -> float:
    """Share of a graph's weights (by number) that are stored as int8."""
    weights = onnx.load(str(path), load_external_data=False).graph.initializer
    sizes = [(weight.data_type, _elements(weight)) for weight in weights]
    total = sum(size for _, size in sizes)
    return sum(size for kind, size in sizes if kind == onnx.TensorProto.INT8) / total if total else 0.0


def _prepare(source: Path, prepared: Path, external: bool) -> None:
    """Fold constants and infer shapes, then drop the value types, and let no Gemm share its weights.

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
    _unshare_gemms(model.graph)
    onnx.save(model, str(prepared))


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


def _elements(tensor: onnx.TensorProto) -> int:
    count = 1
    for size in tensor.dims:
        count *= size
    return count


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the quantiser's advice, which it gives on the root logger; other loggers are not touched."""
    root = logging.getLogger()

    def only_errors(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    root.addFilter(only_errors)
    try:
        yield
    finally:
        root.removeFilter(only_errors)
