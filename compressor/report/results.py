"""`results.json`: every figure of a run, the one thing that goals and reports read. Torch-free.

A figure that does not exist on this run is null and shown as 'not available', never filled.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from compressor.runtime.calibration import Calibration
from compressor.runtime.schema import Runtime

RESULTS_VERSION = 1


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class Interval(_Strict):
    """95 % bootstrap interval, clustered by image."""

    low: float
    high: float


class Direction(_Strict):
    """Retrieval one way. Recalls in percent; ranks start at 1."""

    r1: float
    r5: float
    r10: float
    median_rank: float
    mean_rank: float
    map_r: float = Field(description="mAP@R in percent.")


RoleName = Literal["teacher", "student", "control"]


class ModelQuality(_Strict):
    """Retrieval of one model, measured through its exported bundle at `precision`.

    Goals reach `i2t_r1`, `t2i_r10`, `rsum` ... directly under `quality.<role>`.
    """

    i2t_r1: float
    i2t_r5: float
    i2t_r10: float
    t2i_r1: float
    t2i_r5: float
    t2i_r10: float
    rsum: float
    i2t: Direction
    t2i: Direction
    rsum_interval: Interval | None = None
    images: int
    captions: int
    precision: str = "fp32"
    source: Literal["bundle", "embeddings"] = "bundle"


class Retention(_Strict):
    """Student divided by teacher (paired bootstrap), and artifact divided by the PyTorch student."""

    rsum: float | None = Field(description="Null where the teacher finds nothing or ranks no pairs.")
    rsum_interval: Interval | None = None
    artifact_rsum: float | None = None
    control_rsum: float | None = Field(None, description="Control divided by teacher.")
    student_minus_control: float | None = None
    student_minus_control_interval: Interval | None = None


class CaptionQuality(_Strict):
    """Captions of one model, in the field's scale (times 100); null figures say in `unavailable` why.

    Goals reach `bleu_4`, `cider` ... directly under `quality.<role>`.
    """

    bleu_1: float | None = None
    bleu_2: float | None = None
    bleu_3: float | None = None
    bleu_4: float | None = None
    meteor: float | None = None
    rouge_l: float | None = None
    cider: float | None = None
    spice: float | None = None
    intervals: dict[str, Interval] = Field(
        default_factory=dict, description="By figure; METEOR has none, and nothing has without resamples."
    )
    unavailable: dict[str, str] = Field(default_factory=dict, description="Why a figure is null.")
    images: int
    captions: int = Field(description="Reference captions that the generated ones are compared with.")
    source: Literal["pytorch"] = "pytorch"


class VQAQuality(_Strict):
    """Answers of one model, by the official formula, in percent."""

    vqa_accuracy: float
    vqa_accuracy_interval: Interval | None = None
    by_answer_type: dict[str, float] = Field(default_factory=dict)
    by_question_type: dict[str, float] = Field(default_factory=dict)
    images: int
    questions: int
    source: Literal["pytorch"] = "pytorch"


class GenerationRetention(_Strict):
    """Student divided by teacher, figure by figure (paired bootstrap), and student minus control."""

    bleu_1: float | None = None
    bleu_2: float | None = None
    bleu_3: float | None = None
    bleu_4: float | None = None
    meteor: float | None = None
    rouge_l: float | None = None
    cider: float | None = None
    spice: float | None = None
    vqa_accuracy: float | None = None
    intervals: dict[str, Interval] = Field(default_factory=dict)
    control: dict[str, float] = Field(default_factory=dict, description="Control divided by teacher.")
    lead_over_control: dict[str, float] = Field(
        default_factory=dict, description="Student minus control, in points."
    )
    lead_over_control_intervals: dict[str, Interval] = Field(default_factory=dict)


class Timing(_Strict):
    """Milliseconds of one call, preprocessing outside."""

    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    n: int
    p50_interval: Interval | None = None


class RoleTimings(_Strict):
    """One quantity for each model, interleaved in the same process. Null: this role has nothing to run."""

    teacher: Timing | None = None
    student: Timing | None = None


class Latency(_Strict):
    """Batch-one latency with the same threads; ratios are student divided by teacher.

    Backend, provider and precision are the student's; the teacher is timed in ONNX Runtime at fp32.
    """

    backend: str = "onnxruntime"
    provider: str = "CPUExecutionProvider"
    threads: int
    precision: str = Field("fp32", description="The student's, the one that was evaluated.")
    image: RoleTimings
    text: RoleTimings
    pair: RoleTimings
    p50_ratio: float | None = Field(None, description="Pair p50, student / teacher, median over rounds.")
    p50_ratio_interval: Interval | None = None
    batches: list[dict[str, Any]] = Field(
        default_factory=list, description="Throughput by role, tower and batch size."
    )
    preprocess: dict[str, Any] = Field(
        default_factory=dict, description="Decode and preprocess times per image and text."
    )


class GenerationLatency(_Strict):
    """One caption or answer, beam search and all, preprocessing outside."""

    backend: Literal["onnxruntime", "PyTorch eager"] = "onnxruntime"
    provider: str = "CPUExecutionProvider"
    threads: int
    precision: str = "fp32"
    beams: int
    max_length: int
    generation: RoleTimings
    p50_ratio: float | None = Field(None, description="p50, student / teacher, median over rounds.")
    p50_ratio_interval: Interval | None = None


class RoleSize(_Strict):
    """Size of one model as deployed: `bytes` are those of the artifact at `precision`."""

    parameters: int
    image_parameters: int
    text_parameters: int
    bytes: int
    precision: str = "fp32"


class Size(_Strict):
    teacher: RoleSize | None = None
    student: RoleSize | None = None
    parameter_ratio: float | None = None
    bytes_ratio: float | None = None


class TowerFigures(_Strict):
    cosine: float | None = None
    worst_cosine: float | None = None
    p50_ms: float | None = None
    bytes: int
    status: Literal["passed", "failed"]
    reason: str = ""


class ArtifactFigures(_Strict):
    """One precision of a student that embeds. What a search found is null or empty without one."""

    runtime: Runtime = Field("onnxruntime", description="What it runs in, was judged in and timed in.")
    image: TowerFigures
    text: TowerFigures
    recall_delta: float | None = None
    recall_delta_interval: Interval | None = None
    overlap: float | None = Field(
        None, description="Share of the ten best answers that are among PyTorch's, both ways."
    )
    pair_ratio: float | None = Field(
        None, description="Time of one image and one text over fp32's, median over rounds."
    )
    beaten_by: str = Field("", description="A precision that is no worse in anything and better in one.")
    wins: list[str] = Field(default_factory=list, description="Goals of a search that it is the best for.")
    in_bundle: bool = Field(True, description="False: it passed, and the search left it out.")
    status: Literal["passed", "failed"]
    reason: str = ""
    slower_than_fp32: bool = False


class WriterArtifactFigures(_Strict):
    """One precision of a student that writes: its graphs, and what they write compared with PyTorch."""

    graphs: dict[str, TowerFigures]
    equal_greedy: float | None = Field(None, description="Share of texts equal to PyTorch's, greedily.")
    equal_beams: float | None = Field(None, description="The same with beams.")
    texts: int = 0
    loss_delta: float | None = Field(
        None, description="Loss on the true texts minus PyTorch's, in nats a token."
    )
    p50_ms: float | None = Field(None, description="Of one text, beam search and all.")
    status: Literal["passed", "failed"]
    reason: str = ""
    slower_than_fp32: bool = False


class GoalResult(_Strict):
    """One goal and its verdict. `not judged`: the figure does not exist on this run, such as a rehearsal."""

    goal: str
    value: float | None
    verdict: Literal["met", "missed", "not judged"]
    reason: str = ""


class Results(_Strict):
    """The whole of results.json."""

    results_version: int = RESULTS_VERSION
    name: str
    rehearsal: bool = False
    recipe: dict[str, Any]
    lineage: dict[str, Any] = Field(
        default_factory=dict, description="Fingerprints, versions, git revision, seeds."
    )
    device: dict[str, Any] = Field(default_factory=dict)
    quality: dict[RoleName, ModelQuality | CaptionQuality | VQAQuality | None] = Field(default_factory=dict)
    retention: Retention | GenerationRetention | None = None
    latency: Latency | GenerationLatency | None = None
    size: Size = Size()
    calibration: Calibration | None = Field(
        None, description="The teacher's cosines on the student's scale; null without a teacher of pairs."
    )
    artifacts: dict[str, ArtifactFigures | WriterArtifactFigures] = Field(default_factory=dict)
    not_made: dict[str, str] = Field(
        default_factory=dict, description="Artifacts that were asked for but could not be made, and why."
    )
    training: dict[str, Any] = Field(
        default_factory=dict,
        description="Per role: steps, seconds, images per second, curve file, best step.",
    )
    data: dict[str, Any] = Field(
        default_factory=dict, description="Rows, captions and bad samples per split."
    )
    stages: dict[str, Any] = Field(
        default_factory=dict, description="Seconds per stage and whether it was skipped."
    )
    examples: list[dict[str, Any]] = Field(default_factory=list)
    goals: list[GoalResult] = Field(default_factory=list)

    @property
    def writes(self) -> bool:
        """True for a student that captions or answers, false for one that embeds."""
        teacher = self.recipe.get("teacher")
        return isinstance(teacher, dict) and teacher.get("kind") == "blip"

    @property
    def retrieval(self) -> dict[RoleName, ModelQuality | None]:
        """Quality of models that embed."""
        return {
            role: found if isinstance(found, ModelQuality) else None
            for role, found in self.quality.items()
            if not isinstance(found, CaptionQuality | VQAQuality)
        }

    @property
    def rsum_kept(self) -> Retention | None:
        """Retention of models that embed."""
        return self.retention if isinstance(self.retention, Retention) else None

    @property
    def towers(self) -> Latency | None:
        """Latency of models that embed."""
        return self.latency if isinstance(self.latency, Latency) else None
