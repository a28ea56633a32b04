"""The table of families: the last line of each counts, and what failed or was left out is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import families
from benchmarks.family_measure import Timing, measure
from benchmarks.family_models import ImageSide, Towers, as_if_trained


def passed(name: str, cosine: float) -> dict[str, Any]:
    tower = {
        "status": "passed",
        "reason": "",
        "cosine": cosine,
        "worst": {"1": 0.99999, "2": 0.99998, "7": 0.99997},
        "shuffled": -0.07,
        "megabytes": 4.2,
        "p50_ms": {"onnxruntime": 1.25, "eager": 5.0},
        "compile_missing": "no C++ compiler",
    }
    return {"name": name, "status": "passed", "reason": "", "towers": {"image": tower}}


def test_the_table_shows_the_last_line_of_a_family_and_names_what_failed(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    failed = {"name": "open_clip RN50", "status": "failed", "reason": "killed by signal 9"}
    lines = [passed("timm fastvit_t8", 0.5), passed("timm fastvit_t8", 0.999999), failed]
    path.write_text("\n".join(map(json.dumps, lines)) + '\n{"name": "cut o')
    table = list(families.markdown(families.read_results(path)))
    (row,) = [line for line in table if line.startswith("| timm fastvit_t8")]
    assert row == (
        "| timm fastvit_t8 | image | passed | 0.999999 | 0.99999 / 0.99998 / 0.99997 | -0.07 | 4.2 "
        "| 1.25 | 5.00 |  |"
    )
    assert len({line.count("|") for line in table if line.startswith("|")}) == 1, "as many cells in every row"
    assert "- open_clip RN50 failed: killed by signal 9" in table
    assert "- timm fastvit_t8, image, without a figure for `torch.compile`: no C++ compiler" in table
    assert "| timm mobileone_s0 | | not measured | | | | | | | |" in table


class Convolution(nn.Module):
    """A tower with a BatchNorm that has seen something."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 8, 8), nn.BatchNorm2d(8), nn.GELU(), nn.Flatten(), nn.Linear(8 * 16, 12)
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.layers(pixels)


@pytest.fixture
def towers() -> Towers:
    pixels = np.random.default_rng(0).standard_normal((14, 3, 32, 32), np.float32)
    return Towers(ImageSide(as_if_trained(Convolution()), 12), {"image": pixels})


def test_a_family_is_exported_compared_and_timed(towers: Towers) -> None:
    (found,) = measure(towers, Timing(rounds=1, threads=1, compiled=False))["towers"].values()
    assert (found["status"], found["reason"]) == ("passed", "")
    assert min(found["worst"].values()) > 0.9999
    assert found["shuffled"] < 0.9
    assert set(found["p50_ms"]) == {"onnxruntime", "eager"}


def test_a_tower_that_gives_everything_the_same_vector_fails(towers: Towers) -> None:
    layer = towers.encoder.tower.layers[-1]
    layer.weight.zero_()
    (found,) = measure(towers, Timing(rounds=1, threads=1, compiled=False))["towers"].values()
    assert found["status"] == "failed"
