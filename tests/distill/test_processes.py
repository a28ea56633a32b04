"""Two processes do what one does: the store's bytes, the losses, the gradients."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from compressor.distill.curves import read_curves
from compressor.distill.trainer import train
from compressor.files import sha256_file
from tests.distill.two_processes import RUNS, WRITING, attention_job, jobs, writing_jobs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same work, by one process and by two (gloo)."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [*launcher, "-m", "tests.distill.two_processes", str(two)]
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        for job in [*jobs(one).values(), attention_job(one), *writing_jobs(one)]:
            train(job)
        output, _ = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output.decode()[-3000:]
    return one, two


def test_the_shards_of_two_builders_are_those_of_one_byte_for_byte(folders: tuple[Path, Path]) -> None:
    one, two = ({p.name: sha256_file(p) for p in (f / "store").glob("*/*.*")} for f in folders)
    assert one == two
    assert len([name for name in one if name.endswith(".safetensors")]) > 6


@pytest.mark.parametrize("run", RUNS)
def test_losses_and_balancer_weights_are_those_of_the_joined_batch(
    folders: tuple[Path, Path], run: str
) -> None:
    one, two = (read_curves(folder / run / "metrics.jsonl") for folder in folders)
    assert len(one) == len(two) == RUNS[run]["steps"]
    for alone, together in zip(one, two, strict=True):
        assert together["losses"] == pytest.approx(alone["losses"], rel=1e-4)
        assert together["weights"] == pytest.approx(alone["weights"], rel=1e-3)
        assert together["grad_norm"] == pytest.approx(alone["grad_norm"], rel=1e-3)


@pytest.mark.parametrize("run", RUNS)
def test_gradients_are_those_of_the_joined_batch(folders: tuple[Path, Path], run: str) -> None:
    """After one step AdamW's first moment is the gradient times a constant; later, a running mean of them."""
    last = f"checkpoints/step-{RUNS[run]['steps']:08d}/optimizer.safetensors"
    one, two = (load_file(folder / run / last) for folder in folders)
    assert set(one) == set(two)
    for name in (
        "losses.project.weight",
        "encoder.words.weight",
        "encoder.pixels.weight",
        "encoder.log_logit_scale",
    ):
        assert one[f"exp_avg/{name}"].abs().sum() > 0, name
    for name, tensor in one.items():
        scale = tensor.abs().max().item() or 1.0
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-4 * scale, msg=name)


@pytest.mark.parametrize("run", RUNS)
def test_the_queue_holds_the_rows_of_both_processes_in_order(folders: tuple[Path, Path], run: str) -> None:
    last = f"checkpoints/step-{RUNS[run]['steps']:08d}/losses.safetensors"
    one, two = (load_file(folder / run / last) for folder in folders)
    for name in one:
        if name.startswith("queue."):
            torch.testing.assert_close(two[name], one[name], msg=name)
    assert one["queue.filled"].item() == min(20, 8 * RUNS[run]["steps"])


def test_attention_maps_are_compared_over_the_batch_of_both_processes(folders: tuple[Path, Path]) -> None:
    one, two = (read_curves(folder / "attention" / "metrics.jsonl") for folder in folders)
    for alone, together in zip(one, two, strict=True):
        assert together["losses"] == pytest.approx(alone["losses"], rel=1e-4)
        assert together["grad_norm"] == pytest.approx(alone["grad_norm"], rel=1e-3)
    assert one[0]["losses"]["amad"] == pytest.approx(one[0]["losses"]["task"], rel=1e-4)
    last = "attention/checkpoints/step-00000003/optimizer.safetensors"
    moments, others = (load_file(folder / last) for folder in folders)
    for name, tensor in moments.items():
        atol = 1e-4 * (tensor.abs().max().item() or 1.0)
        torch.testing.assert_close(others[name], tensor, rtol=1e-3, atol=atol, msg=name)


@pytest.mark.parametrize("run", WRITING)
def test_words_are_counted_over_the_batch_of_both_processes(folders: tuple[Path, Path], run: str) -> None:
    one, two = (read_curves(folder / run / "metrics.jsonl") for folder in folders)
    for alone, together in zip(one, two, strict=True):
        assert set(alone["losses"]) == {"task", "logits", "amad"}
        assert together["losses"] == pytest.approx(alone["losses"], rel=1e-4)
        assert together["grad_norm"] == pytest.approx(alone["grad_norm"], rel=1e-3)
    last = f"{run}/checkpoints/step-00000002/optimizer.safetensors"
    moments, others = (load_file(folder / last) for folder in folders)
    first = {name: tensor for name, tensor in moments.items() if name.startswith("exp_avg/")}
    atol = 1e-6 * max(tensor.abs().max().item() for tensor in first.values())  # biases of keys have none
    for name, tensor in first.items():
        torch.testing.assert_close(others[name], tensor, rtol=1e-3, atol=atol, msg=name)


def test_batchnorm_and_uneven_batches_are_refused_and_freezing_works(folders: tuple[Path, Path]) -> None:
    refused = (folders[1] / "refusals.txt").read_text().splitlines()
    assert len(refused) == 2
    assert "BatchNorm layers in training mode" in refused[0]
    assert "2 processes" in refused[0]
    assert "batch_size 7 is not a multiple of the 2 processes" in refused[1]
    frozen = load_file(folders[1] / "frozen" / "checkpoints" / "step-00000006" / "model.safetensors")
    assert torch.equal(frozen["normed.running_mean"], torch.zeros(12))
