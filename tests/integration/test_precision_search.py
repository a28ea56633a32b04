"""A whole run that searches for precisions: what is measured, kept, marked and told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from compressor.pipeline.folder import RunFolder
from compressor.recipe.outcome import PRECISIONS
from compressor.report.results import ArtifactFigures
from compressor.runtime.bundle import Bundle
from compressor.runtime.schema import BundleManifest
from tests.integration.conftest import Run

LOOSE: dict[str, Any] = {
    "cosine": 0.5,
    "worst_cosine": 0.05,
    "recall_delta": -100,
    "overlap": 0,
    "samples": 16,
}


def test_a_search_measures_every_precision_and_keeps_what_nobody_beats(run: Run, tmp_path: Path) -> None:
    results = run(
        export={
            "search": True,
            "default": "balanced",
            "parity": LOOSE,
            "calibration": {"samples": 16, "method": "minmax"},
        },
        distill={"control": False},
        benchmark={"rounds": 4, "repeats": 3},
    )
    folder = RunFolder(tmp_path / "runs" / "tiny")
    manifest = BundleManifest.model_validate(json.loads((folder.bundle / "bundle.json").read_text()))
    search = manifest.search
    assert search is not None
    passed = {name for name, found in manifest.artifacts.items() if found.status == "passed"}
    assert set(search.candidates) == passed | set(search.left_out)
    assert set(results.artifacts) == set(PRECISIONS) - (set(manifest.not_made) - set(search.left_out))
    for name, candidate in search.candidates.items():
        found = results.artifacts[name]
        assert isinstance(found, ArtifactFigures)
        assert found.in_bundle == (folder.bundle / name).is_dir() == (name not in search.left_out)
        assert found.in_bundle or candidate.beaten_by == found.beaten_by != ""
        assert found.slower_than_fp32 == (candidate.ratio > 1)
        assert found.wins == [goal for goal, won in search.winners.items() if won == name]
        assert not (found.wins and found.slower_than_fp32)
    assert Bundle.open(folder.bundle).precision == search.winners["balanced"]
    Bundle.open(folder.bundle).verify()
    quality, latency, size = results.quality["student"], results.towers, results.size.student
    assert quality is not None
    assert latency is not None
    assert size is not None
    assert quality.precision == latency.precision == size.precision == manifest.default_precision
    opened = manifest.artifacts[manifest.default_precision]
    assert size.bytes == sum((folder.bundle / entry.path).stat().st_size for entry in opened.files())
    assert results.size.teacher is not None
    assert results.size.teacher.precision == "fp32"
    assert "Precisions compared" in folder.root.joinpath("report.html").read_text()
