"""A finished run as results.json would hold it: a small student of a large teacher, 1,000 drawn scenes."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from compressor.report.results import Results

COLOURS = {"red": "#d23b33", "green": "#3a9a4b", "blue": "#3a5bd0", "yellow": "#e2bd35", "violet": "#8b4bc4"}
SHAPES = ("circle", "square", "triangle")
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


def direction(r1: float, r5: float, r10: float, mean: float) -> dict[str, float]:
    median = 1.0 if r1 >= 50 else 3.0
    return {"r1": r1, "r5": r5, "r10": r10, "median_rank": median, "mean_rank": mean, "map_r": r1 * 0.93}


def quality(shift: float, half_width: float) -> dict[str, Any]:
    i2t, t2i = (
        (68.4 + shift, 93.1 + shift / 3, 97.6 + shift / 5),
        (61.2 + shift, 90.4 + shift / 2, 96.2 + shift / 4),
    )
    rsum = sum(i2t) + sum(t2i)
    recalls = {
        f"{way}_r{k}": value
        for way, row in (("i2t", i2t), ("t2i", t2i))
        for k, value in zip((1, 5, 10), row, strict=True)
    }
    return {
        **recalls,
        "rsum": rsum,
        "i2t": direction(*i2t, 2.1 - shift / 20),
        "t2i": direction(*t2i, 2.9 - shift / 15),
        "rsum_interval": {"low": rsum - half_width, "high": rsum + half_width},
        "images": 1000,
        "captions": 5000,
        "precision": "fp32",
        "source": "bundle",
    }


def timing(p50: float) -> dict[str, Any]:
    return {
        "p50_ms": p50,
        "p90_ms": p50 * 1.11,
        "p95_ms": p50 * 1.19,
        "p99_ms": p50 * 1.52,
        "n": 200,
        "p50_interval": {"low": p50 * 0.985, "high": p50 * 1.021},
    }


def latency() -> dict[str, Any]:
    towers = {"image": (18.62, 1.43), "text": (7.94, 0.652), "pair": (26.61, 2.09)}
    batches = [
        {
            "role": role,
            "tower": tower,
            "batch": batch,
            "p50_ms": base * batch**0.9,
            "per_second": 1000 * batch**0.1 / base,
            "n": 10,
        }
        for tower, pair in (("image", (18.62, 1.43)), ("text", (7.94, 0.652)))
        for batch in (1, 8, 32)
        for role, base in zip(("teacher", "student"), pair, strict=True)
    ]
    return {
        "threads": 1,
        **{tower: {"teacher": timing(a), "student": timing(b)} for tower, (a, b) in towers.items()},
        "p50_ratio": 0.0785,
        "p50_ratio_interval": {"low": 0.0771, "high": 0.0802},
        "batches": batches,
        "preprocess": {
            "decode": {"p50_ms": 0.41, "n": 16, "source": "JPEG, quality 90"},
            "teacher": {"image_p50_ms": 0.62, "text_p50_ms": 0.11, "n": 16},
            "student": {"image_p50_ms": 0.48, "text_p50_ms": 0.09, "n": 16},
        },
    }


def tower(
    bytes_: int, p50: float, cosine: float, worst: float, status: str = "passed", reason: str = ""
) -> dict[str, Any]:
    return {
        "bytes": bytes_,
        "p50_ms": p50,
        "cosine": cosine,
        "worst_cosine": worst,
        "status": status,
        "reason": reason,
    }


def artifacts() -> dict[str, Any]:
    return {
        "fp32": {
            "image": tower(2_412_000, 1.43, 1.0, 0.99999),
            "text": tower(1_120_000, 0.652, 1.0, 1.0),
            "recall_delta": 0.0,
            "status": "passed",
        },
        "int8": {
            "image": tower(981_000, 1.71, 0.99231, 0.9712),
            "text": tower(402_000, 0.481, 0.99874, 0.9961),
            "recall_delta": -0.31,
            "status": "passed",
            "slower_than_fp32": True,
        },
    }


def scene(seed: int, size: int = 96) -> str:
    """A small drawn scene as base64 JPEG."""
    generator = np.random.default_rng(seed)
    image = Image.new("RGB", (size, size), ("#f4efe4", "#dfe8ee", "#e9e4ef")[seed % 3])
    draw = ImageDraw.Draw(image)
    for _ in range(2 + seed % 2):
        x, y, r = generator.integers(22, 74), generator.integers(22, 74), generator.integers(9, 21)
        colour = list(COLOURS.values())[generator.integers(len(COLOURS))]
        shape = SHAPES[generator.integers(3)]
        if shape == "circle":
            draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        elif shape == "square":
            draw.rectangle((x - r, y - r, x + r, y + r), fill=colour)
        else:
            draw.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=colour)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return base64.b64encode(file.getvalue()).decode()


def examples() -> list[dict[str, Any]]:
    captions = (
        "a small red circle above a large blue square on a pale background",
        "two green triangles beside each other, the left one is striped",
        "there is a violet square to the right of a yellow circle",
        "a blue triangle and, below it, a tiny red triangle",
    )
    ranks = {"both right": (0, 0), "student only": (1, 0), "teacher only": (0, 2), "both wrong": (9, 1)}
    found = []
    for k, (outcome, right) in enumerate(ranks.items()):
        answers = [
            [
                {
                    "id": f"scene-{k}-{role}-{j}",
                    "image": scene(10 * k + 3 * role + j),
                    "correct": right[role] == j,
                    "score": round(0.61 - 0.07 * j - 0.02 * role, 4),
                }
                for j in range(3)
            ]
            for role in range(2)
        ]
        query = {"id": f"scene-{k}", "caption": captions[k]}
        found.append(
            {
                "kind": "text_to_image",
                "outcome": outcome,
                "query": query,
                "teacher": answers[0],
                "student": answers[1],
            }
        )
    for k, (outcome, right) in enumerate(ranks.items()):
        answers = [
            [
                {
                    "id": f"scene-{k}",
                    "caption": captions[(k + j + role) % 4],
                    "correct": right[role] <= j,
                    "score": 0.58 - 0.04 * j,
                }
                for j in range(3)
            ]
            for role in range(2)
        ]
        query = {"id": f"scene-{k}", "image": scene(50 + k)}
        found.append(
            {
                "kind": "image_to_text",
                "outcome": outcome,
                "query": query,
                "teacher": answers[0],
                "student": answers[1],
            }
        )
    return found


def curves(steps: int = 372) -> dict[str, list[dict[str, Any]]]:
    """Metrics as training writes them: noisy losses, moving weights, a validation every 31 steps."""
    generator = np.random.default_rng(0)
    starts = {
        "contrastive": (5.1, 1.3),
        "feature": (0.071, 0.024),
        "similarity": (0.48, 0.09),
        "hard_negative": (0.6, 0.07),
    }
    found: dict[str, list[dict[str, Any]]] = {"student": [], "control": []}
    for step in range(1, steps + 1):
        decay = math.exp(-step / 110)
        losses = {
            name: (end + (start - end) * decay) * generator.normal(1, 0.05)
            for name, (start, end) in starts.items()
        }
        weights = {
            name: 10 / 4 * generator.normal(1, 0.04) * max(losses.values()) / loss
            for name, loss in losses.items()
        }
        student: dict[str, Any] = {
            "step": step,
            "losses": losses,
            "weights": weights,
            "total": sum(losses.values()),
        }
        task = {"task": (0.7 + 4.0 * math.exp(-step / 160)) * generator.normal(1, 0.04)}
        control: dict[str, Any] = {
            "step": step,
            "losses": task,
            "weights": {"task": 1.0},
            "total": task["task"],
        }
        if step % 31 == 0:
            student["validation"] = {"rsum": 512 - 420 * math.exp(-step / 75) + generator.normal(0, 3)}
            control["validation"] = {"rsum": 431 - 400 * math.exp(-step / 110) + generator.normal(0, 3)}
        found["student"].append(student)
        found["control"].append(control)
    return found


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
