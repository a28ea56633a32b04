"""fp16: weights and arithmetic in half precision, inputs and outputs in float32.

A processor computes it as float32 between conversions, slowly; there it only halves the size. GPUs are the
ones that gain. Normalisations add up squares, which half precision holds badly: `keep` leaves them float32,
with a conversion before and after.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import onnx

from compressor.export.precision.graphs import quiet, save

NORMALISATIONS = (
    "BatchNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "LpNormalization",
    "Pow",
    "ReduceL2",
    "ReduceMean",
    "ReduceSumSquare",
    "RMSNormalization",
    "Softmax",
    "Sqrt",
)
_NEVER_HALF = ("Clip", "CumSum", "Max", "Min", "Range", "Resize", "TopK")
"""Operators that ONNX, or a runtime of it, defines for float32 alone."""


def halve_tower(source: Path, target: Path, external: bool = False, keep: bool = False) -> None:
    """Write an fp16 version of the ONNX graph at `source`; with `keep`, normalisations stay float32.

    `external` as in `quantize_tower`. Raises whatever the converter raises for a graph it does not
    understand.
    """
    convert = _converter()
    with quiet():
        blocked = [*_NEVER_HALF, *(NORMALISATIONS if keep else ())]
        model = convert(onnx.load(str(source)), keep_io_types=True, op_block_list=blocked)
        del model.graph.value_info[:]  # the converter gets some of the types between nodes wrong
        save(model, target, external)


def _converter() -> Callable[..., onnx.ModelProto]:
    """ONNX Runtime's converter; its package puts a folder of scripts on the search path, which is undone."""
    before = list(sys.path)
    try:
        from onnxruntime.transformers.float16 import convert_float_to_float16
    finally:
        sys.path[:] = before
    return convert_float_to_float16
