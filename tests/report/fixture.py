"""A finished run as results.json would hold it: a small student of a large teacher, 1,000 drawn scenes."""

from __future__ import annotations

from typing import Any

from compressor.report.results import Results
from tests.report.run_examples import examples
from tests.report.run_figures import artifacts, latency, quality

RECIPE: dict[str, Any] = {
    "name": "quickstart",
    "seed": 0,
    "data": {"kind": "scenes", "seed": 0, "image_size": 64, "train": 4000, "val": 500, "test": 1000},
    "teacher": {"kind": "checkpoint", "path": "/home/someone/scenes_teacher"},
    "student": {
        "image": {"kind": "timm", "name": "mobilenetv3_small_050", "input": {"size": 64}},
        "text": {"kind": "transformer", "width": 96, "layers": 2, "heads": 2},
        "tokenizer": {"kind": "train", "vocab_size": 512},
        "embed_dim": 128,
    },
    "distill": {
        "epochs": 12,
        "losses": [
            {"kind": "contrastive"},
            {"kind": "feature"},
            {"kind": "similarity"},
            {"kind": "hard_negative"},
        ],
        "balancer": {"kind": "dsmd_rates"},
        "control": True,
    },
    "evaluate": {"split": "test"},
    "goals": ["retention.rsum >= 0.95", "latency.p50_ratio <= 0.25"],
}


def small(precision: str = "int8_static", backend: str = "onnxruntime") -> Results:
    """The run of a recipe whose default is not fp32: the student's figures are those of that artifact."""
    size = run().size.model_dump()
    size["student"] |= {"bytes": 1_080_000, "precision": precision}
    size["bytes_ratio"] = 1_080_000 / size["teacher"]["bytes"]
    return run(
        quality={"teacher": quality(0, 6.1), "student": quality(-3.9, 6.6, precision)},
        latency={**latency(), "precision": precision, "backend": backend},
        size=size,
    )


def run(**changed: Any) -> Results:
    """The run, with top-level parts replaced."""
    parts: dict[str, Any] = {
        "name": "quickstart",
        "recipe": RECIPE,
        "lineage": {
            "compressor": "0.1.0",
            "git_revision": "9f2639b0c5b1",
            "seed": 0,
            "teacher": {
                "kind": "checkpoint",
                "fingerprint": "5b1e77c0",
                "embed_dim": 256,
                "origin": "scenes teacher",
            },
            "versions": {"torch": "2.15.0", "onnxruntime": "1.31.1", "timm": "1.0.27"},
        },
        "device": {
            "key": "923f046e3503fdad",
            "cpu": {
                "model": "Example CPU at 2.7 GHz",
                "flags": ["avx2", "avx512f", "avx512_vnni"],
                "logical_cores": 4,
                "available_cores": 2,
                "quota_cores": 1.5,
                "governor": None,
            },
            "gpus": [],
            "memory_gib": 24,
            "os": "Debian GNU/Linux 12 (bookworm), kernel 6.1.0",
            "python": "3.11.7",
            "libraries": {"numpy": "2.4.6", "onnxruntime": "1.31.1"},
            "onnxruntime_providers": ["CPUExecutionProvider"],
        },
        "quality": {
            "teacher": quality(0, 6.1),
            "student": quality(-3.9, 6.6),
            "control": quality(-19.4, 8.2),
        },
        "retention": {
            "rsum": 0.9711,
            "rsum_interval": {"low": 0.9623, "high": 0.9801},
            "control_rsum": 0.874,
            "student_minus_control": 48.7,
            "student_minus_control_interval": {"low": 42.1, "high": 55.0},
        },
        "latency": latency(),
        "size": {
            "teacher": {
                "parameters": 12_310_000,
                "image_parameters": 8_010_000,
                "text_parameters": 4_300_000,
                "bytes": 49_640_000,
            },
            "student": {
                "parameters": 862_000,
                "image_parameters": 588_000,
                "text_parameters": 274_000,
                "bytes": 3_532_000,
            },
            "parameter_ratio": 0.07,
            "bytes_ratio": 0.0712,
        },
        "artifacts": artifacts(),
        "training": {
            "student": {
                "steps": 372,
                "seconds": 91.3,
                "images_per_second": 521.0,
                "best_step": 372,
                "best_rsum": 509.8,
                "curve": "training/abc/student/metrics.jsonl",
            },
            "control": {
                "steps": 372,
                "seconds": 84.9,
                "images_per_second": 560.3,
                "best_step": 341,
                "best_rsum": 418.0,
                "curve": "training/abc/control/metrics.jsonl",
            },
        },
        "data": {
            "train": {"images": 3998, "captions": 19990, "bad_images": 2},
            "val": {"images": 500, "captions": 2500, "bad_images": 0},
            "test": {"images": 1000, "captions": 5000, "bad_images": 0},
        },
        "stages": {
            "teacher": {"seconds": 1.2},
            "cache": {"seconds": 31.7},
            "distill": {"seconds": 182.4},
            "export": {"seconds": 22.8},
            "evaluate": {"seconds": 17.1},
            "benchmark": {"seconds": 21.0},
        },
        "examples": examples(),
        "goals": [
            {"goal": "retention.rsum >= 0.95", "value": 0.9711, "verdict": "met"},
            {"goal": "latency.p50_ratio <= 0.25", "value": 0.0785, "verdict": "met"},
            {"goal": "artifacts.int8.recall_delta >= -0.3", "value": -0.31, "verdict": "missed"},
        ],
    }
    return Results.model_validate({**parts, **changed})
