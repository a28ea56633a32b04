"""Two real processes give the losses and gradients of one process on the joined batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.losses.two_processes import STEPS, gradnorm_over_rows, train

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes left what they saw."""
    folder = tmp_path_factory.mktemp("two_processes")
    command = [sys.executable, "-m", "tests.losses.two_processes", str(folder)]
    running = [
        subprocess.Popen([*command, str(rank), "2"], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=120)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0], "\n".join(errors)
    return folder


@pytest.mark.parametrize("with_teacher", [True, False])
def test_losses_gradients_weights_and_queue_equal_those_of_one_process(
    folder: Path, with_teacher: bool
) -> None:
    expected = train(rank=0, world=1, with_teacher=with_teacher)
    gradients = [name for name in expected if ".gradient." in name]
    assert len(gradients) == STEPS * (14 if with_teacher else 13)
    assert all(expected[name].abs().max() > 1e-6 for name in gradients if name.endswith("weight"))
    for rank in range(2):
        seen = load_file(folder / f"{with_teacher}.{rank}.safetensors")
        assert seen.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(
                seen[name], value, rtol=1e-9, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}"
            )


def test_unequal_batches_are_refused_in_every_process(folder: Path) -> None:
    words = [json.loads((folder / f"words.{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]
    for said in words:
        assert "unequal batches" in said["refusal"]
        assert "3 rows" in said["refusal"]
        assert "4 rows" in said["refusal"]


def test_the_balancer_weighs_the_mean_over_the_processes(folder: Path) -> None:
    for rank in range(2):
        weights = json.loads((folder / f"words.{rank}.json").read_text(encoding="utf-8"))["weights"]
        assert weights == pytest.approx({"a": 5.0, "b": 5.0 * 2.0 / 0.5}, rel=1e-6)


def test_gradient_norms_are_those_of_the_joined_batch_and_gradnorm_is_of_one_mind(folder: Path) -> None:
    said = [json.loads((folder / f"words.{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]
    expected = gradnorm_over_rows(rank=0, world=1)
    assert said[0]["gradnorm"] == said[1]["gradnorm"]
    for what in ("norms", "weights"):
        for got, alone in zip(said[0]["gradnorm"][what], expected[what], strict=True):
            assert got == pytest.approx(alone, rel=1e-9)
    assert min(expected["norms"][0]) > 0
    assert max(abs(weight - 1) for weight in expected["weights"][-1]) > 0.3
