"""What a training tells while it runs: trackers and progress."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compressor.distill import engine, trainer
from compressor.distill.progress import ProgressEvent
from compressor.distill.trainer import train
from compressor.errors import (
    MissingDependencyError,
    RecipeError,
)
from tests.distill.jobs import distilling, fresh
from tests.distill.world import World


def test_tensorboard_receives_every_loss_weight_and_validation(world: World) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    job = distilling(world, trackers=("tensorboard",), validate=lambda encoder: {"rsum": 12.0})
    train(job)
    events = EventAccumulator(str(job.folder / "logs" / "compressor"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"losses/contrastive", "losses/feature", "weights/feature", "lr", "validation/rsum"} <= tags
    assert events.Scalars("validation/rsum")[-1].step == 6


def test_tensorboard_shows_no_step_twice_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class StoppedError(Exception):
        pass

    def stop(event: ProgressEvent) -> None:
        if event.step == 5:
            raise StoppedError

    monkeypatch.setattr(trainer, "TRACK_EVERY", 1)
    options: dict[str, Any] = {"trackers": ("tensorboard",), "checkpoint_every": 2}
    with pytest.raises(StoppedError):
        train(replace(distilling(fresh(tmp_path), **options), progress=stop))
    train(distilling(fresh(tmp_path), **options))
    events = EventAccumulator(str(tmp_path / "run" / "logs" / "compressor"))
    events.Reload()
    assert [event.step for event in events.Scalars("losses/feature")] == [1, 2, 3, 4, 5, 6]


def test_trackers_that_are_unknown_or_not_installed_are_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecipeError, match=r"'tensorbord' is not a tracker; known are .*tensorboard"):
        train(distilling(world, trackers=("tensorbord",)))
    monkeypatch.setattr(engine, "get_available_trackers", list)
    with pytest.raises(MissingDependencyError, match="`pip install tensorboard`"):
        train(distilling(world, trackers=("tensorboard",)))


def test_progress_tells_speed_losses_and_time_left(world: World) -> None:
    events: list[ProgressEvent] = []
    train(distilling(world, progress=events.append, validate=lambda encoder: {"rsum": 3.0}))
    assert [event.step for event in events] == [1, 2, 3, 4, 5, 6]
    assert all(event.total == 6 and event.images_per_second > 0 for event in events)
    assert events[-1].eta_seconds == 0.0 < events[0].eta_seconds
    assert events[-1].validation == {"rsum": 3.0}
    assert set(events[0].losses) == {"contrastive", "feature"}
