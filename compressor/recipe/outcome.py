"""What happens after training: `export`, `evaluate`, `benchmark` and the form of `goals`."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field

from compressor.recipe.base import Section
from compressor.recipe.data import Split

Precision = Literal["fp32", "fp16", "int8", "int8_static", "int8_weights", "int4_weights"]
"""`int8` quantises activations as they come, `int8_static` by ranges that were measured beforehand, the
`_weights` none at all."""
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
OpenVINOName = Literal[
    "openvino_fp32",
    "openvino_fp16",
    "openvino_int8",
    "openvino_int8_static",
    "openvino_int8_weights",
    "openvino_int4_weights",
]
ExportGoal = Literal["smallest", "fastest", "balanced"]
EXPORT_GOALS: tuple[ExportGoal, ...] = get_args(ExportGoal)
CalibrationMethod = Literal["minmax", "percentile", "entropy", "best"]
GOAL = re.compile(
    r"^\s*(?P<key>[a-z0-9_.]+)\s*(?P<op>>=|<=|>|<|==)\s*(?P<value>-?\d+(\.\d+)?([eE]-?\d+)?)\s*$"
)


class ParityBounds(Section):
    """What an exported artifact must keep of the PyTorch student to be offered."""

    cosine: float = Field(
        0.98, gt=0, le=1, description="Floor of the mean cosine after subtracting the batch mean."
    )
    worst_cosine: float = Field(0.90, gt=0, le=1, description="Floor of the worst single sample, likewise.")
    recall_delta: float = Field(-1.0, le=0, description="Largest loss of Recall@K on validation, in points.")
    overlap: float = Field(
        0.7, ge=0, le=1, description="Floor of the share of PyTorch's ten best answers that it also gives."
    )
    samples: int = Field(64, ge=8, description="Real samples the gate compares.")


class BatchSizes(Section):
    """Batch sizes of an engine: it takes from `min` to `max` rows at once, and is fastest at `opt`."""

    min: int = Field(1, ge=1)
    opt: int = Field(8, ge=1)
    max: int = Field(32, ge=1)


class EngineProfiles(Section):
    """Batch sizes of the engine of each tower."""

    image: BatchSizes = BatchSizes()
    text: BatchSizes = BatchSizes()


class TensorRTSection(Section):
    """TensorRT engines of the student, `tensorrt_<precision>`, for the kind of GPU in this machine."""

    precisions: tuple[Precision, ...] = Field(
        ("fp32",),
        min_length=1,
        description="Each is built from the ONNX artifact of that precision, in whose types it computes.",
    )
    profiles: EngineProfiles = EngineProfiles()
    workspace_gib: float | None = Field(
        None, gt=0, description="Most GPU memory a layer may take while it runs; null: all there is."
    )
    optional: bool = Field(
        False, description="True: a machine that cannot build engines says so in the report and goes on."
    )


def engine_name(precision: str) -> str:
    """The name of the TensorRT artifact of a precision, in the bundle and in results.json."""
    return f"tensorrt_{precision}"


class OpenVINOSection(Section):
    """The student's towers in OpenVINO, `openvino_<precision>`: the ONNX files, judged and timed there."""

    precisions: tuple[Precision, ...] = Field(
        ("fp32",),
        min_length=1,
        description="Each reads the files of the ONNX artifact of that precision; a search tries them too.",
    )
    compute: Literal["auto", "f32"] = Field(
        "auto",
        description="`auto`: OpenVINO's choice, bfloat16 on processors that have it; `f32`: float32.",
    )
    optional: bool = Field(
        False, description="True: a machine without OpenVINO says so in the report and goes on."
    )


def openvino_name(precision: str) -> str:
    """The name of the OpenVINO artifact of a precision, in the bundle and in results.json."""
    return f"openvino_{precision}"


class CalibrationSection(Section):
    """How `int8_static` finds the range of every activation: on training pairs."""

    method: CalibrationMethod = Field(
        "best",
        description="All that was seen, all but the rarest, least information lost; or the best of these.",
    )
    samples: int = Field(128, ge=8, description="Training pairs that are looked at.")
    percentile: float = Field(
        99.99, gt=50, le=100, description="Of the values of an activation, for `percentile`."
    )
    activations: Literal["uint8", "int8"] = Field(
        "uint8",
        description="uint8 with a zero point, which processors are fast at; int8 around zero, for TensorRT.",
    )
    max_excluded: int = Field(
        8,
        ge=0,
        description="Layers of a tower that may stay in float32, the worst first, until the cosines hold.",
    )


class ExportSection(Section):
    """Which artifacts are made of each tower."""

    precisions: tuple[Precision, ...] = Field(
        ("fp32", "int8"), description="What is made where nothing is searched for."
    )
    search: bool = Field(
        False,
        description="True: try every precision, measure each, keep those that no other beats in everything.",
    )
    opset: int = Field(18, ge=18)
    text_length: Literal["fixed", "dynamic"] = Field(
        "fixed",
        description="`dynamic`: the text graph takes any length, and texts are run without needless padding; "
        "for towers that do not read it, in ONNX Runtime.",
    )
    parity: ParityBounds = ParityBounds()
    calibration: CalibrationSection = CalibrationSection()
    default: Precision | OpenVINOName | ExportGoal = Field(
        "fp32",
        description="The bundle's precision unless its parity gate fails; of a search also what wins a goal.",
    )
    tensorrt: TensorRTSection | None = Field(None, description="Engines for this machine's NVIDIA GPU.")
    openvino: OpenVINOSection | None = Field(None, description="What OpenVINO makes of the ONNX files.")

    def reference(self) -> ExportSection:
        """The same for a model that the student is compared with: fp32 in ONNX Runtime and nothing else."""
        only = {"precisions": ("fp32",), "search": False, "default": "fp32"}
        return self.model_copy(update={**only, "tensorrt": None, "openvino": None})

    @property
    def tried(self) -> tuple[Precision, ...]:
        """Precisions that are made and judged."""
        return PRECISIONS if self.search else self.precisions

    @property
    def artifacts(self) -> tuple[str, ...]:
        """Names of all artifacts that are asked for."""
        engines = self.tensorrt.precisions if self.tensorrt is not None else ()
        return (*self.searched, *(engine_name(precision) for precision in engines))

    @property
    def searched(self) -> tuple[str, ...]:
        """Names of what may be the bundle's default, and is timed by a search: all but engines."""
        read = self.openvino.precisions if self.openvino is not None else ()
        return (*self.tried, *(openvino_name(precision) for precision in read))


CaptionMetric = Literal["bleu", "meteor", "rouge_l", "cider", "spice"]


class GenerationSection(Section):
    """How captions and answers are written for measurement and timing; by beam search."""

    beams: int = Field(3, ge=1, le=64)
    max_length: int = Field(20, ge=2, le=512, description="Tokens, start token and prompt included.")
    min_length: int = Field(0, ge=0, description="As BLIP counts; 5 in its published evaluation.")
    metrics: tuple[CaptionMetric, ...] = Field(
        ("bleu", "meteor", "rouge_l", "cider", "spice"),
        min_length=1,
        description="Of captions. One that cannot be computed here says why; answers have VQA accuracy.",
    )


class EvaluateSection(Section):
    """How quality is measured."""

    split: Split = "test"
    bootstrap: int = Field(1000, ge=0, description="Resamples (by image) behind the confidence intervals.")
    batch_size: int = Field(32, ge=1)
    examples: int = Field(8, ge=0, le=50, description="Example retrievals shown as pictures in the report.")
    generation: GenerationSection | None = Field(
        None, description="Of a student that writes; null: three beams, twenty tokens, all metrics."
    )


class BenchmarkSection(Section):
    """How latency is measured: teacher and student interleaved on the same backend and threads."""

    threads: int = Field(1, ge=1)
    warmup: int = Field(10, ge=0)
    rounds: int = Field(20, ge=2)
    repeats: int = Field(10, ge=1, description="Timed calls per model in each round.")
    batch_sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field((1, 8, 32), min_length=1)


def _check_goal(text: str) -> str:
    match = GOAL.match(text)
    if match is None:
        raise ValueError(f"'{text}' is not a goal; write it like 'retention.rsum >= 0.90'")
    if not math.isfinite(float(match["value"])):
        raise ValueError(f"the bound of '{text}' is too large a number")
    return text


Goal = Annotated[str, AfterValidator(_check_goal)]
