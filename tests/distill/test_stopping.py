"""Stopping and going on: interrupts, restarts, full disks, other configurations."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from compressor.distill import session
from compressor.distill.curves import read_curves
from compressor.distill.progress import ProgressEvent
from compressor.distill.trainer import train
from compressor.errors import (
    DiskFullError,
    RecipeError,
)
from compressor.files import sha256_file
from compressor.recipe.losses import DSMDRatesBalance, TaskLoss
from compressor.recipe.training import Augmentation
from tests.distill.jobs import distilling, final, fresh


def test_stopping_and_going_on_ends_with_the_weights_of_an_undisturbed_run(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "steps": 9,
        "ema": 0.8,
        "balancer": DSMDRatesBalance(kind="dsmd_rates"),
        "checkpoint_every": 2,
        "augmentation": Augmentation(),
    }
    student = {"dropout": 0.3}
    undisturbed = final(distilling(fresh(tmp_path, student=student), "one", **options))

    class StoppedError(Exception):
        pass

    def stop(event: ProgressEvent) -> None:
        if event.step == 5:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(replace(distilling(fresh(tmp_path, student=student), "two", **options), progress=stop))
    seen: list[int] = []
    job = replace(
        distilling(fresh(tmp_path, student=student), "two", **options),
        progress=lambda event: seen.append(event.step),
    )
    assert final(job) == undisturbed
    assert seen == [5, 6, 7, 8, 9]
    assert [record["step"] for record in read_curves(job.folder / "metrics.jsonl")] == list(range(1, 10))
    for name in ("optimizer", "losses", "average"):
        path = f"checkpoints/step-00000009/{name}.safetensors"
        assert sha256_file(tmp_path / "one" / path) == sha256_file(tmp_path / "two" / path), name


def test_a_finished_training_returns_at_once_with_its_weights(tmp_path: Path) -> None:
    first = train(distilling(fresh(tmp_path)))
    world = fresh(tmp_path)
    again = train(replace(distilling(world), progress=lambda event: pytest.fail("trained again")))
    assert again == first
    saved = load_file(first.best / "model.safetensors")
    for name, tensor in world.student.encoder.state_dict().items():
        assert torch.equal(tensor, saved[name]), name


def test_another_configuration_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    train(distilling(fresh(tmp_path)))
    with pytest.raises(RecipeError, match="belong to another training"):
        train(distilling(fresh(tmp_path), clip_norm=0.5))


def test_ctrl_c_writes_a_checkpoint_of_a_whole_step_and_a_rerun_goes_on(tmp_path: Path) -> None:
    undisturbed = final(distilling(fresh(tmp_path), "one", checkpoint_every=100))

    def press(event: ProgressEvent) -> None:
        if event.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(replace(distilling(fresh(tmp_path), "two", checkpoint_every=100), progress=press))
    assert signal.getsignal(signal.SIGINT) is before
    stopped = list((tmp_path / "two" / "checkpoints").iterdir())
    assert len(stopped) == 1
    assert stopped[0].name in ("step-00000003", "step-00000004")
    assert final(distilling(fresh(tmp_path), "two", checkpoint_every=100)) == undisturbed


def test_a_full_disk_stops_with_the_last_good_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = final(distilling(fresh(tmp_path), "one", checkpoint_every=2))
    save = session.Checkpoints.save

    def full(self: Any, state: Any) -> Path:
        if state.step == 4:
            raise DiskFullError("no space left on the disk")
        return save(self, state)

    with monkeypatch.context() as patch:
        patch.setattr(session.Checkpoints, "save", full)
        with pytest.raises(DiskFullError):
            train(distilling(fresh(tmp_path), "two", checkpoint_every=2))
    assert final(distilling(fresh(tmp_path), "two", checkpoint_every=2)) == undisturbed


def test_the_balancer_and_the_queue_go_on_after_a_restart(tmp_path: Path) -> None:
    options: dict[str, Any] = {"balancer": DSMDRatesBalance(kind="dsmd_rates"), "checkpoint_every": 3}
    train(distilling(fresh(tmp_path), "one", **options))
    weights = [record["weights"] for record in read_curves(tmp_path / "one" / "metrics.jsonl")]
    assert weights[0] == {"contrastive": 1.0, "feature": 1.0}
    assert weights[4] != weights[0]
    queue = load_file(tmp_path / "one" / "checkpoints" / "step-00000006" / "losses.safetensors")
    assert queue["queue.filled"].item() == 20


def test_a_training_without_any_state_in_its_losses_goes_on_after_a_restart(tmp_path: Path) -> None:
    world = fresh(tmp_path)
    train(world.job("control", None, losses=[TaskLoss(kind="task")]))
    again = fresh(tmp_path)
    assert train(again.job("control", None, losses=[TaskLoss(kind="task")])).steps == 6
