"""One precision of one tower, out of the tower's fp32 graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compressor.errors import DataError
from compressor.export.bundle_parts import GraphFile, quantized
from compressor.export.precision.half import halve_tower
from compressor.export.precision.static import quantize_static_tower
from compressor.export.precision.weight_only import quantize_weights
from compressor.recipe.outcome import ExportSection, Precision

_MOSTLY = 0.5


def make_precision(
    precision: Precision,
    source: GraphFile,
    target: Path,
    section: ExportSection,
    *,
    accepts: Callable[[Path], bool],
    calibration: NDArray[np.float32] | NDArray[np.int64] | str | None = None,
) -> GraphFile:
    """Write the version of `source` at `precision` (not fp32) to `target`, with a note on how it was made.

    `accepts` says whether a graph keeps the bounds of the parity gate: fp16 asks it whether the
    normalisations must stay float32. `calibration`: rows (N, ...) of the tower's input for int8_static, which
    raises `DataError` without them; a string in their place says why there are none. Raises whatever the
    quantisers raise for a graph they do not understand.
    """
    external = source.external is not None
    if precision == "int8":
        return quantized(source, target)
    if precision == "fp16":
        note = _half(source, target, external, accepts)
    elif precision == "int8_static":
        if calibration is None or isinstance(calibration, str):
            raise DataError(calibration or "there are no training pairs to calibrate it on")
        made = quantize_static_tower(
            source.path, target, calibration, section.calibration, section.parity, external
        )
        note = made.note
    else:
        share = quantize_weights(source.path, target, 4 if precision == "int4_weights" else 8, external)
        note = "" if share >= _MOSTLY else f"{share:.0%} of what is stored are such weights"
    data = target.with_name(f"{target.name}.data")
    return GraphFile(target, data if data.exists() else None, note)


def _half(source: GraphFile, target: Path, external: bool, accepts: Callable[[Path], bool]) -> str:
    halve_tower(source.path, target, external)
    if accepts(target):
        return ""
    target.unlink()
    target.with_name(f"{target.name}.data").unlink(missing_ok=True)
    halve_tower(source.path, target, external, keep=True)
    return "normalisations in float32"
