"""int8 by static quantisation: the range of every activation is measured beforehand, on training pairs.

The graph gets a pair QuantizeLinear, DequantizeLinear around what is int8 (the QDQ form, in operators that
every runtime of ONNX knows): weights with one scale per output channel, symmetric; activations with one scale
each, as uint8 with a zero point or as int8 around zero (`CalibrationSection.activations`). Quantised are
products with constant weights (MatMul, Gemm) and convolutions; the products of attention and all else stay
float32. An image's embedding no longer depends on its batch.

What follows a ReLU has no negative values, and uint8 spends its 256 steps on what there is; where the zero
point is the least value that a ReLU or a Clip lets through, rounding does the cutting and the node is gone.
x86 multiplies uint8 by int8 in one instruction. int8 by int8 is done in detours: the ResNet of
recipes/flickr8k_retrieval.yaml ran 1.7 times as slow as in float32 with it, and twice as fast with uint8.

How wide a range should be is a choice (`method`): all that was seen (`minmax`), all but the rarest values
(`percentile`), or what loses least information between the histograms of values before and after (`entropy`,
Migacz, 8-bit inference with TensorRT, 2017). None is best on all models, so `best` tries the three.

Some layers bear it badly. Where the result does not keep the bounds of the parity gate on the calibration
samples, layers go back to float32 one by one, the worst first by the measure of `exclude`, until it does or
`max_excluded` are out. The gate's own samples are of the validation split and take no part in this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from compressor.export.parity import centred_cosines
from compressor.export.precision.exclude import harm_of_layers
from compressor.export.precision.graphs import prepare, quiet, save
from compressor.recipe.outcome import CalibrationSection, ParityBounds

Method = Literal["minmax", "percentile", "entropy"]
OPERATORS = ("MatMul", "Gemm", "Conv")
FOLLOWERS = ("Relu", "Clip", "MaxPool")
"""What happens to a convolution's uint8 output without leaving uint8: rounding cuts as the first two do, and
the maximum of rounded values, with their scale, is the rounded maximum."""

_BATCH = 8
_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}


@dataclass(frozen=True)
class Quantised:
    """A candidate: the graph, the layers that stayed float32, and how well it agrees with fp32 on the
    calibration samples (mean and worst cosine as the parity gate takes them)."""

    model: onnx.ModelProto
    method: Method
    layers: int
    excluded: tuple[str, ...]
    cosine: float
    worst_cosine: float

    def keeps(self, bounds: ParityBounds) -> bool:
        """True where the cosines reach the floors."""
        return self.cosine >= bounds.cosine and self.worst_cosine >= bounds.worst_cosine

    @property
    def note(self) -> str:
        """How it was made, in a few words."""
        left = f", {len(self.excluded)} of {self.layers} layers left in float32" if self.excluded else ""
        return f"calibrated by {self.method}{left}"


def quantize_static_tower(
    source: Path,
    target: Path,
    rows: NDArray[np.float32] | NDArray[np.int64],
    section: CalibrationSection,
    bounds: ParityBounds,
    external: bool = False,
) -> Quantised:
    """Write a static int8 version of the ONNX graph at `source`, whose one input takes `rows` (N, ...), and
    say how it was made.

    `external` as in `quantize_tower`. Raises whatever ONNX Runtime's quantiser raises for a graph it does not
    understand.
    """
    methods: Sequence[Method] = get_args(Method) if section.method == "best" else (section.method,)
    with quiet(), TemporaryDirectory() as scratch:
        prepared = Path(scratch, "prepared.onnx")
        prepare(source, prepared, external)
        tower = _Tower(prepared, rows, external)
        tried = [_least_excluded(tower, method, section, bounds) for method in methods]
        best = max(tried, key=lambda one: (one.keeps(bounds), -len(one.excluded), one.cosine))
        save(best.model, target, external)
    return best


class _Tower:
    """The fp32 graph, the samples, and what the graph makes of them."""

    def __init__(self, path: Path, rows: NDArray[Any], external: bool) -> None:
        self.path, self.rows, self.external = path, rows, external
        self.model = onnx.load(str(path))
        self.input_name = self.model.graph.input[0].name
        self.reference = self.run(path)

    def run(self, graph: Path | onnx.ModelProto) -> NDArray[np.float32]:
        """Output of the graph of this tower, or of another version of it, for all samples."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        with TemporaryDirectory(dir=self.path.parent) as scratch:
            path = graph if isinstance(graph, Path) else Path(scratch, "candidate.onnx")
            if not isinstance(graph, Path):
                save(graph, path, self.external)
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            return np.concatenate([session.run(None, feed)[0] for feed in self.feeds()])

    def feeds(self) -> Iterator[dict[str, NDArray[Any]]]:
        for start in range(0, len(self.rows), _BATCH):
            yield {self.input_name: self.rows[start : start + _BATCH]}


def _least_excluded(
    tower: _Tower, method: Method, section: CalibrationSection, bounds: ParityBounds
) -> Quantised:
    """The first candidate that keeps the bounds, else the one that comes nearest."""
    ranges = _observed_ranges(tower, method, section)
    signed = section.activations == "int8"
    candidate = _candidate(tower, ranges, method, (), signed)
    if candidate.keeps(bounds):
        return candidate
    layers = layers_of(tower.model)
    feed = next(tower.feeds())
    harm = harm_of_layers(tower.model, candidate.model, layers, feed, tower.external)
    worst_first = sorted(harm, key=lambda name: -harm[name])[: section.max_excluded]
    for count in range(1, len(worst_first) + 1):
        other = _candidate(tower, ranges, method, tuple(worst_first[:count]), signed)
        if other.keeps(bounds):
            return other
        candidate = max(candidate, other, key=lambda one: one.cosine)
    return candidate


def _candidate(
    tower: _Tower, ranges: TensorsData, method: Method, excluded: tuple[str, ...], signed: bool
) -> Quantised:
    model = _quantised(tower.model, ranges, excluded, signed)
    cosines = centred_cosines(tower.reference, tower.run(model))
    known = cosines[np.isfinite(cosines)]
    mean, worst = (float(known.mean()), float(known.min())) if len(known) else (-1.0, -1.0)
    return Quantised(model, method, len(layers_of(tower.model)), excluded, mean, worst)


def layers_of(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that can be quantised: convolutions, and products with constant weights."""
    weights = {weight.name for weight in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type in OPERATORS and node.input[1] in weights]


def _observed_ranges(tower: _Tower, method: Method, section: CalibrationSection) -> TensorsData:
    """Range of every activation around the quantised layers, by ONNX Runtime's calibrators.

    They hold all that one call gives them: the samples go in a few at a time.
    """
    with TemporaryDirectory(dir=tower.path.parent) as scratch:
        options: dict[str, Any] = {"symmetric": section.activations == "int8"}
        if method == "percentile":
            options["percentile"] = section.percentile
        calibrator = create_calibrator(
            tower.path,
            [*OPERATORS, *FOLLOWERS],
            augmented_model_path=str(Path(scratch, "augmented.onnx")),
            calibrate_method=_METHODS[method],
            use_external_data_format=tower.external,
            extra_options=options,
        )
        for feed in tower.feeds():
            calibrator.collect_data(_OneFeed(feed))
        ranges = calibrator.compute_data()
    assert isinstance(ranges, TensorsData)
    return ranges


def _quantised(
    model: onnx.ModelProto, ranges: TensorsData, excluded: Sequence[str], signed: bool
) -> onnx.ModelProto:
    kept = set(layers_of(model)) - set(excluded)
    followers = () if signed else FOLLOWERS
    quantiser = QDQQuantizer(
        deepcopy(model),
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8 if signed else QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=[],  # where it is empty, all but the excluded ones
        nodes_to_exclude=[
            node.name for node in model.graph.node if node.name not in kept and node.op_type not in followers
        ],
        op_types_to_quantize=[*OPERATORS, *followers],
        extra_options={**_OPTIONS, "ActivationSymmetric": signed},
    )
    quantiser.quantize_model()
    quantised: onnx.ModelProto = quantiser.model.model
    _give_others_exact_values(quantised, kept)
    return quantised


def _give_others_exact_values(model: onnx.ModelProto, layers: Set[str]) -> None:
    """Let nodes that are not quantised read the float value, not its rounded copy made for a layer.

    ONNX Runtime's quantiser rounds a value for all who read it, so that the sum after a LayerNormalization
    would be rounded too. What a quantised convolution gives stays rounded: that is what it computes.
    """
    made_by = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.name in layers or node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        for place, name in enumerate(node.input):
            restore = made_by.get(name)
            if restore is None or restore.op_type != "DequantizeLinear":
                continue
            store = made_by.get(restore.input[0])
            if store is None or store.op_type != "QuantizeLinear":
                continue
            exact = store.input[0]
            if exact not in made_by or made_by[exact].name not in layers:
                node.input[place] = exact


# What a product gives is added to float32 values, as a rule: to quantise it first costs time and accuracy.
_OPTIONS: Mapping[str, Any] = {
    "WeightSymmetric": True,
    "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"],
}


class _OneFeed(CalibrationDataReader):
    """One batch for a calibrator."""

    def __init__(self, feed: dict[str, NDArray[Any]]) -> None:
        self._left = [feed]

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return self._left.pop() if self._left else None
