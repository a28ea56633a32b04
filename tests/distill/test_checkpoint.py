"""Checkpoints are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from compressor.distill import checkpoint
from compressor.distill.checkpoint import Checkpoints, TrainingState
from compressor.errors import DiskFullError, RecipeError


def state(step: int, best: int = 0) -> TrainingState:
    return TrainingState(
        step=step,
        configuration="this",
        tensors={"model": {"a": torch.full((3,), float(step))}, "optimizer": {}, "losses": {}},
        balancer={"before": {"task": 0.1}},
        best={"step": best, "metric": 1.5} if best else {},
        seconds=2.5,
    )


def test_the_newest_state_comes_back_as_it_was(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(5))
    checkpoints.save(state(9, best=5))
    loaded = checkpoints.load("this")
    assert loaded is not None
    assert set(loaded.tensors) == {"model"}
    assert torch.equal(loaded.tensors["model"]["a"], torch.full((3,), 9.0))
    assert (loaded.step, loaded.best, loaded.balancer, loaded.seconds) == (
        9,
        {"step": 5, "metric": 1.5},
        {"before": {"task": 0.1}},
        2.5,
    )


def test_the_last_two_stay_and_say_which_best_they_need(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step, best in ((1, 1), (2, 1), (3, 3)):
        checkpoints.save(state(step, best))
    assert checkpoints.steps() == [2, 3]
    assert checkpoints.best_steps() == {1, 3}


def test_nothing_half_written_is_trusted(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(1))
    torn = tmp_path / "step-00000002"
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"half")
    (tmp_path / ".step-00000003.tmp-elsewhere-1-abc").mkdir()
    assert checkpoints.steps() == [1]
    assert checkpoints.last == tmp_path / "step-00000001"


def test_no_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none").load("this") is None


def test_the_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(1))
    with pytest.raises(RecipeError, match="belong to another training"):
        checkpoints.load("that")


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_weights", full)
    with pytest.raises(DiskFullError, match="no space left on the disk"):
        checkpoints.save(state(2))
    assert checkpoints.steps() == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_no_file_is_a_pickle(tmp_path: Path) -> None:
    path = Checkpoints(tmp_path).save(state(1))
    assert {file.suffix for file in path.iterdir()} == {".safetensors", ".json"}
