"""Figures of a finished run, by section of results.json."""

from __future__ import annotations

from typing import Any


def direction(r1: float, r5: float, r10: float, mean: float) -> dict[str, float]:
    median = 1.0 if r1 >= 50 else 3.0
    return {"r1": r1, "r5": r5, "r10": r10, "median_rank": median, "mean_rank": mean, "map_r": r1 * 0.93}


def quality(shift: float, half_width: float, precision: str = "fp32") -> dict[str, Any]:
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
        "precision": precision,
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
