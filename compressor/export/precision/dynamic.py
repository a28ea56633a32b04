"""int8 by dynamic quantisation of the matrix products: no calibration data, activations measured as they
come.

Weights of MatMul and Gemm become int8, one scale per output channel; activations are uint8 with one scale
per call. Two consequences that the parity gate watches: the embedding of an image depends slightly on the
others of its batch, and a processor without int8 dot products (x86 before VNNI) may saturate its 16-bit
sums and differ from the machine where the artifact was checked. Convolutions stay float32: ONNX Runtime's
dynamic ones are slow and inaccurate. Embedding tables stay float32 too.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from compressor.export.precision.graphs import prepare, quiet, share_of_weights

OPERATORS = ("MatMul", "Gemm")


def quantize_tower(source: Path, target: Path, external: bool = False) -> float:
    """Write an int8 version of the ONNX graph at `source`; returns the share of its weights that are int8
    (0 to 1).

    `external`: the source keeps its weights in a file of its own, and so will the target (`<target>.data`),
    because together they would exceed what one ONNX file can hold. Raises whatever ONNX Runtime's quantiser
    raises for a graph it does not understand.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with quiet(), TemporaryDirectory(dir=target.parent) as scratch:
        prepared = Path(scratch, "prepared.onnx")
        prepare(source, prepared, external)
        quantize_dynamic(
            prepared,
            target,
            op_types_to_quantize=list(OPERATORS),
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=external,
        )
    onnx.checker.check_model(str(target))
    return share_of_weights(target, onnx.TensorProto.INT8)
