"""The chain: teacher -> cache -> distill -> export -> evaluate -> benchmark -> report."""

from __future__ import annotations

from compressor.pipeline import (
    benchmark_stage,
    cache_stage,
    distill_stage,
    evaluate_stage,
    export_stage,
    report_stage,
    teacher_stage,
)
from compressor.pipeline.stage import Stage

STAGES: tuple[Stage, ...] = (
    teacher_stage.STAGE,
    cache_stage.STAGE,
    distill_stage.STAGE,
    export_stage.STAGE,
    evaluate_stage.STAGE,
    benchmark_stage.STAGE,
    report_stage.STAGE,
)
