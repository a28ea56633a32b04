"""A bundle in the folder of a finished run, as the service finds it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from compressor.report.bundle_results import bundle_results
from compressor.report.results import Results
from compressor.runtime.schema import MANIFEST
from tests.report.fixture import run as finished

ARTIFACTS: dict[str, Any] = {
    name: {
        "image": {"p50_ms": latency, "bytes": size, "status": "passed"},
        "text": {"p50_ms": latency / 2, "bytes": size // 2, "status": "passed"},
        "recall_delta": change,
        "recall_delta_interval": {"low": change - 0.2, "high": change + 0.2},
        "status": "passed",
    }
    for name, latency, size, change in (
        ("fp32", 1.4, 2_400_000, 0.0),
        ("int8", 0.9, 900_000, 0.1),
        ("int8_weights", 1.6, 600_000, -0.3),
    )
}
GOALS: list[dict[str, Any]] = [
    {"goal": "retention.rsum >= 0.95", "value": 0.97, "verdict": "met"},
    {"goal": "latency.p50_ratio <= 0.25", "value": 0.3, "verdict": "missed"},
    {
        "goal": "latency.pair.teacher.p50_ms <= 9",
        "value": None,
        "verdict": "not judged",
        "reason": "no teacher",
    },
]


def figures(**changed: Any) -> Results:
    """The figures of a run that tried three precisions and missed one of its goals."""
    return finished(**{"artifacts": ARTIFACTS, "goals": GOALS} | changed)


def home_of(exported: Path, home: Path, results: Results, *, role: str = "student") -> Path:
    """The folder of a copy of a bundle in the folder `home` of a run with these results."""
    bundle = home / "bundle" if role == "student" else home / role / "bundle"
    shutil.copytree(exported, bundle)
    (home / "results.json").write_text(results.model_dump_json(), encoding="utf-8")
    manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    told = bundle_results(results) if role == "student" else {}
    manifest |= {"role": role, "results": told, "lineage": {"recipe": results.name}}
    (bundle / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return bundle
